#!/usr/bin/env bash
# MySQL for tests on a Debian machine that has MariaDB or nothing installed, without Docker and without touching dpkg:
# fetches the package mysql-server-core of Debian's unstable suite with the libraries it names (its own libc included),
# from the mirror that this machine's apt already uses, unpacks them under FOLDER, and writes FOLDER/bin/mysqld, which
# starts the server with the libraries it came with.
#
#   mysql_from_debian.sh FOLDER
set -euo pipefail

fail() {
  echo "mysql_from_debian: $*" >&2
  exit 1
}

folder=$(realpath -m "${1:?usage: mysql_from_debian.sh FOLDER}")
if [[ -x $folder/bin/mysqld ]]; then exit 0; fi
for program in apt-get dpkg-deb; do
  command -v "$program" >/dev/null || fail "$program is missing: this needs Debian; elsewhere use Docker or install MySQL"
done

keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[[ -r $keyring ]] || keyring=$(find /usr/share/keyrings /etc/apt -name 'debian-archive-keyring.*' 2>/dev/null | head -n 1)
[[ -n $keyring ]] || fail "no Debian archive keyring on this machine"
sources=$(find /etc/apt -maxdepth 2 \( -name '*.list' -o -name '*.sources' \) -exec cat {} + 2>/dev/null || true)
mirror=$(grep -oE 'https?://[^][:space:]]+/debian/?([[:space:]]|$)' <<<"$sources" | head -n 1 | tr -d '[:space:]' || true)
[[ -n $mirror ]] || fail "no Debian mirror in /etc/apt"

# All work happens beside the target and is moved there at the end: an interrupted run leaves nothing that looks whole.
mkdir -p "$(dirname "$folder")"
work=$(mktemp -d "$folder.XXXXXX")
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial" "$work/packages" "$work/tree" "$work/bin"
echo "deb [signed-by=$keyring] $mirror sid main" >"$work/apt/sources.list"

private_apt() {
  apt-get -qq -o "Dir::Etc::SourceList=$work/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o "Dir::State::Lists=$work/apt/lists" -o "Dir::Cache=$work/apt/cache" -o APT::Sandbox::User=root "$@"
}

private_apt update || fail "cannot read the package lists of Debian's unstable suite"
(
  cd "$work/packages"
  private_apt download mysql-server-core || fail "cannot fetch mysql-server-core"
  # First alternative of each dependency, without version and architecture; perl serves only scripts we never run.
  # libunwind8 and liblzma5 are needed by libraries of that list.
  mapfile -t libraries < <(dpkg-deb --field mysql-server-core_*.deb Depends |
    tr ',' '\n' | awk '{sub(/[:(|].*/, "", $1); if ($1 != "perl") print $1}')
  private_apt download "${libraries[@]}" libunwind8 liblzma5 || fail "cannot fetch the libraries of mysql-server-core"
)
for package in "$work"/packages/*.deb; do dpkg-deb --extract "$package" "$work/tree"; done
rm -rf "$work/packages" "$work/apt"

loader=$(find "$work/tree" -name 'ld-linux*.so.*' -print -quit)
[[ -n $loader ]] || fail "the unpacked packages hold no program loader"
libraries=$(find "$work/tree" -type d -name '*-linux-gnu' -printf '%P ')
cat >"$work/bin/mysqld" <<WRAPPER
#!/bin/sh
# Made by mysql_from_debian.sh: the unpacked server with the libraries it came with.
here=\$(dirname "\$(dirname "\$(readlink -f "\$0")")")
path=/usr/lib/$(uname -m)-linux-gnu
for folder in $libraries; do path="\$here/tree/\$folder:\$path"; done
exec "\$here/${loader#"$work"/}" --library-path "\$path" "\$here/tree/usr/sbin/mysqld" --no-defaults "\$@" \\
  --basedir="\$here/tree/usr" --lc-messages-dir="\$here/tree/usr/share/mysql" --secure-file-priv=NULL
WRAPPER
chmod +x "$work/bin/mysqld"
"$work/bin/mysqld" --version || fail "the unpacked server does not start"
mv "$work" "$folder"
trap - EXIT
