"""The configuration: ``cdc.toml``, ``CDC_…`` variables, database URLs and FacturaScripts' ``config.php``."""

from cdc.config.load import DEFAULT_FILE, load_config
from cdc.config.model import Config, DispatchConfig, LogConfig, OutboxConfig, SourceConfig, WebConfig
from cdc.config.show import default_toml

__all__ = [
    "DEFAULT_FILE",
    "Config",
    "DispatchConfig",
    "LogConfig",
    "OutboxConfig",
    "SourceConfig",
    "WebConfig",
    "default_toml",
    "load_config",
]
