#!/bin/bash
# Runs FacturaScripts itself, of the checkout FOLDER, with `cdc run` beside it: real_erp.sh FOLDER.
# FOLDER needs its libraries (composer install, npm install); PHP comes from Debian:
#   apt-get install php-cli php-mysql php-bcmath php-curl php-gd php-xml php-zip php-mbstring
set -euo pipefail
folder=$(cd "$1" && pwd)
test -f "$folder/vendor/autoload.php" || { echo "$folder has no vendor: composer install" >&2; exit 2; }
cd "$(dirname "$0")/../.."
PYTHONPATH=tests exec .venv/bin/python -m support.real_erp "$folder"
