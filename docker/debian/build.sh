#!/bin/bash
# Builds the Debian package from a wheel: build.sh WHEEL FOLDER.  For this machine's architecture and its python3: the
# libraries, of requirements.txt by their hashes, have parts compiled for both.
set -euo pipefail
wheel=$1 folder=$2
project=$(cd "$(dirname "$0")/../.." && pwd)
python=/usr/bin/python3
name=facturascripts-cdc
version=$(basename "$wheel" | cut -d- -f2)
minor=$($python -c 'import sys; print(sys.version_info.minor)')
architecture=$(dpkg --print-architecture)
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
chmod 755 "$stage"
library=$stage/usr/lib/$name

umask 022
mkdir -p "$library" "$stage"/usr/bin "$stage/usr/lib/systemd/system" "$stage/etc/$name" "$stage/usr/share/doc/$name" "$stage/DEBIAN"
install=("${PIP:-pip}" --python $python install --quiet --no-compile --no-warn-conflicts --target "$library")
"${install[@]}" --only-binary :all: --require-hashes --requirement "$project/requirements.txt"
rm -r "$library/bin"
"${install[@]}" --no-deps "$wheel"
rm -rf "$library"/{setuptools,pkg_resources,_distutils_hack,distutils-precedence.pth,bin} "$library"/setuptools-*
# the page speaks these languages, and Babel brings a thousand
find "$library/babel/locale-data" -name '*.dat' ! -name 'root.dat' ! -name 'e[ns].dat' ! -name 'e[ns]_*' -delete
# the account of the service may not write bytecode: without it each start would compile everything
$python -m compileall -q -s "$stage" --invalidation-mode unchecked-hash "$library"

cat > "$stage/usr/bin/cdc" <<END
#!$python -I
import sys

sys.path.insert(0, "/usr/lib/$name")
from cdc.cli import main

main()
END
chmod 755 "$stage/usr/bin/cdc"
echo '[outbox]
url = "sqlite:////var/lib/facturascripts-cdc/cdc.db"' > "$stage/cdc.toml"
(cd / && PYTHONPATH=$library $python - "$stage/cdc.toml" "/etc/$name/cdc.toml") > "$stage/usr/lib/systemd/system/$name.service" <<END
import sys
from pathlib import Path

from cdc.config import load_config
from cdc.runtime.process import UnitSettings, unit_text

print(unit_text(load_config(Path(sys.argv[1])), UnitSettings(("/usr/bin/cdc",))).replace(*sys.argv[1:]), end="")
END
rm "$stage/cdc.toml"
cp "$project/LICENSE" "$stage/usr/share/doc/$name/copyright"
cp "$project"/docker/debian/{postinst,prerm,postrm} "$stage/DEBIAN"
chmod 755 "$stage"/DEBIAN/p*
cat > "$stage/DEBIAN/control" <<END
Package: $name
Version: $version
Architecture: $architecture
Maintainer: facturascripts-cdc <https://github.com/facturascripts-cdc/facturascripts-cdc>
Depends: python3 (>= 3.$minor), python3 (<< 3.$((minor + 1))), passwd
Installed-Size: $(du -sk "$stage" | cut -f1)
Section: net
Priority: optional
Homepage: https://github.com/facturascripts-cdc/facturascripts-cdc
Description: signed webhooks from the row changes of a FacturaScripts database
 Reads changes by triggers or from the log of MariaDB, MySQL or PostgreSQL,
 and sends them as signed webhooks.  The command is cdc; after cdc setup,
 "cdc service install" starts it with the machine.
END
mkdir -p "$folder"
dpkg-deb --root-owner-group -Zzstd -z9 --build "$stage" "$folder/${name}_${version}_$architecture.deb" > /dev/null
