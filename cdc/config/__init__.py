"""The configuration: ``cdc.toml``, ``CDC_…`` variables, database URLs and FacturaScripts' ``config.php``."""

from cdc.config.load import DEFAULT_FILE, find_config, load_config
from cdc.config.model import Config, DispatchConfig, LogConfig, WebConfig
from cdc.config.section import OutboxConfig
from cdc.config.source import SourceConfig
from cdc.config.write import default_toml

__all__ = [
    "DEFAULT_FILE",
    "Config",
    "DispatchConfig",
    "LogConfig",
    "OutboxConfig",
    "SourceConfig",
    "WebConfig",
    "default_toml",
    "find_config",
    "load_config",
]
