#!/usr/bin/env bash
# A database server or message broker for tests on a Debian machine that has another version, or none, installed: without Docker and without
# touching dpkg.  Fetches the server's packages of one of Debian's suites with the libraries that they name (their own libc
# included), from the mirror that this machine's apt already uses, unpacks them under FOLDER, and writes programs in
# FOLDER/bin that run with the libraries they came with.
#
#   unpack_from_debian.sh mysql FOLDER      MySQL of the unstable suite: bin/mysqld
#   unpack_from_debian.sh mariadb FOLDER    MariaDB 10.11 of Debian 12: bin/mariadbd, bin/mariadb-install-db
#   unpack_from_debian.sh valkey FOLDER     Valkey of Debian 13: bin/valkey-server
#   unpack_from_debian.sh nats FOLDER       NATS of Debian 13: bin/nats-server
#   unpack_from_debian.sh rabbitmq FOLDER   RabbitMQ of Debian 13: bin/rabbitmq-server, bin/epmd
set -euo pipefail

fail() {
  echo "unpack_from_debian: $*" >&2
  exit 1
}

flavour=${1:?usage: unpack_from_debian.sh NAME FOLDER}
folder=$(realpath -m "${2:?usage: unpack_from_debian.sh NAME FOLDER}")
case $flavour in
  # libunwind8 and liblzma5 are needed by libraries that the package names
  mysql) suite=sid server=mysqld packages=(mysql-server-core) more=(libunwind8 liblzma5) ;;
  # the client's package has a program that the installer calls
  mariadb) suite=bookworm server=mariadbd packages=(mariadb-server-core mariadb-client-core) more=(liblz4-1 libzstd1 liblzma5 libgcrypt20 libgpg-error0 libcap2) ;;
  valkey) suite=trixie server=valkey-server packages=(valkey-server valkey-tools) more=(libc6 libstdc++6 libgcc-s1 libcap2 zlib1g libzstd1) ;;
  nats) suite=trixie server=nats-server packages=(nats-server) more=(libc6) ;;
  rabbitmq) suite=trixie server=rabbitmq-server packages=(rabbitmq-server) more=(libc6 libstdc++6 libgcc-s1 libtinfo6 libssl3t64 libsystemd0 libcap2 zlib1g libzstd1 erlang-asn1) ;;
  *) fail "unknown server $flavour" ;;
esac
if [[ -x $folder/bin/$server ]]; then exit 0; fi
for program in apt-get dpkg-deb; do
  command -v "$program" >/dev/null || fail "$program is missing: this needs Debian; elsewhere use Docker or install $flavour"
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
echo "deb [signed-by=$keyring] $mirror $suite main" >"$work/apt/sources.list"

private_apt() {
  apt-get -qq -o "Dir::Etc::SourceList=$work/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o "Dir::State::Lists=$work/apt/lists" -o "Dir::Cache=$work/apt/cache" -o Dir::State::status=/dev/null \
    -o Dir::Etc::PreferencesParts=/dev/null -o APT::Sandbox::User=root "$@"
}

private_apt update || fail "cannot read the package lists of Debian's suite $suite"
(
  cd "$work/packages"
  private_apt download "${packages[@]}" || fail "cannot fetch ${packages[*]}"
  # First alternative of each dependency, without version and architecture; perl serves only scripts that no test runs.
  mapfile -t libraries < <(for deb in *.deb; do dpkg-deb --field "$deb" Depends; done |
    tr ',' '\n' | awk '{sub(/[:(|].*/, "", $1); if ($1 != "perl") print $1}' | sort -u)
  private_apt download "${libraries[@]}" "${more[@]}" || fail "cannot fetch the libraries of ${packages[*]}"
)
for package in "$work"/packages/*.deb; do dpkg-deb --extract "$package" "$work/tree"; done
rm -rf "$work/packages" "$work/apt"

loader=$(find "$work/tree" -name 'ld-linux*.so.*' -print -quit)
[[ -n $loader ]] || fail "the unpacked packages hold no program loader"
libraries=$(find "$work/tree" -type d -name '*-linux-gnu' -printf '%P ')
head="#!/bin/sh
# Made by unpack_from_debian.sh: an unpacked program with the libraries it came with.
here=\$(dirname \"\$(dirname \"\$(readlink -f \"\$0\")\")\")
path=/usr/lib/$(uname -m)-linux-gnu
for folder in $libraries; do path=\"\$here/tree/\$folder:\$path\"; done
run() { exec \"\$here/${loader#"$work"/}\" --library-path \"\$path\" \"\$@\"; }"
if [[ $flavour == valkey || $flavour == nats ]]; then
  program=$(cd "$work/tree" && find usr -path "*bin/$server")
  printf '%s\nrun "$here/tree/%s" "$@"\n' "$head" "$program" >"$work/bin/$server"
elif [[ $flavour == rabbitmq ]]; then
  erlang=usr/lib/erlang
  erts=$(cd "$work/tree" && echo $erlang/erts-*/bin)
  # Erlang starts programs of its own by their paths: in place of each, one that finds the libraries beside it.
  here='$(dirname "$(dirname "$(readlink -f "$0")")")' deeper='$(cd "$(dirname "$(readlink -f "$0")")/../../../../../.." && pwd)'
  deep=${head/"$here"/"$deeper"}
  for program in erlexec beam.smp erl_child_setup inet_gethost epmd; do
    mv "$work/tree/$erts/$program" "$work/tree/$erts/$program.unpacked"
    printf '%s\nrun "$here/tree/%s/%s.unpacked" "$@"\n' "$deep" "$erts" "$program" >"$work/tree/$erts/$program"
    chmod +x "$work/tree/$erts/$program"
  done
  ln -s "../tree/$erts/epmd" "$work/bin/epmd"
  cat >"$work/bin/erl" <<WRAPPER
$head
export ROOTDIR="\$here/tree/$erlang" BINDIR="\$here/tree/$erts" EMU=beam PROGNAME=erl
exec "\$BINDIR/erlexec" "\$@"
WRAPPER
  cat >"$work/bin/rabbitmq-server" <<WRAPPER
$head
export PATH="\$here/bin:\$PATH"
if [ "\${1:-}" = --version ]; then exec erl -noshell -eval 'io:format("Erlang ~s~n", [erlang:system_info(otp_release)]), halt().'; fi
exec "\$here"/tree/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server "\$@"
WRAPPER
elif [[ $flavour == mysql ]]; then
  cat >"$work/bin/mysqld" <<WRAPPER
$head
run "\$here/tree/usr/sbin/mysqld" --no-defaults "\$@" \\
  --basedir="\$here/tree/usr" --lc-messages-dir="\$here/tree/usr/share/mysql" --secure-file-priv=NULL
WRAPPER
else
  cat >"$work/bin/mariadbd" <<WRAPPER
$head
if [ "\${1:-}" = --no-defaults ]; then shift; fi
run "\$here/tree/usr/sbin/mariadbd" --no-defaults "\$@" \\
  --basedir="\$here/tree/usr" --lc-messages-dir="\$here/tree/usr/share/mysql" \\
  --character-sets-dir="\$here/tree/usr/share/mysql/charsets" --plugin-dir="\$here/tree/usr/lib/mysql/plugin"
WRAPPER
  # The installer looks for the server and two more programs in its base folder: the wrappers.
  mkdir "$work/base"
  ln -s ../tree/usr/share ../tree/usr/lib ../bin "$work/base"
  ln -s ../bin "$work/base/sbin"
  for program in my_print_defaults resolveip; do
    printf '%s\nrun "$here/tree/usr/bin/%s" "$@"\n' "$head" "$program" >"$work/bin/$program"
  done
  cat >"$work/bin/mariadb-install-db" <<'WRAPPER'
#!/bin/sh
# Made by unpack_from_debian.sh.
here=$(dirname "$(dirname "$(readlink -f "$0")")")
exec "$here/tree/usr/bin/mariadb-install-db" "$@" --basedir="$here/base"
WRAPPER
fi
chmod +x "$work"/bin/*
"$work/bin/$server" --version || fail "the unpacked server does not start"
mv "$work" "$folder"
trap - EXIT
