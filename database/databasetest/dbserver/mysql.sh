#!/bin/bash
# Usage: mysql.sh [mysqld | mysqlrouter]
#
# Unpacks MySQL 9.7, or its Router, from Debian's unstable suite into the user's cache directory, beside the system,
# for tests and measurements. Prints the path of the command. Installs nothing; a repeat does nothing. Each program
# has a directory of its own, so that a cache without Router is completed. MYSQLD, or a mysqld of MySQL 8 or later in
# PATH, is used instead of the server; MYSQLROUTER, or a mysqlrouter of 8 or later in PATH, instead of Router.
set -euo pipefail
version=9.7
program=${1:-mysqld}

case $program in
mysqld) package=mysql-server-core directory=mysql variable=MYSQLD ;;
mysqlrouter) package=mysql-router directory=mysqlrouter variable=MYSQLROUTER ;;
*)
	echo "There is no program $program: name mysqld or mysqlrouter." >&2
	exit 2
	;;
esac

is_mysql() {
	local said
	said=$("$1" --version 2>/dev/null) || return 1
	[[ $said != *MariaDB* && $said =~ Ver\ ([0-9]+)\. && ${BASH_REMATCH[1]} -ge 8 ]]
}

to=${XDG_CACHE_HOME:-$HOME/.cache}/cartwheel/$directory-$version
for candidate in "${!variable:-}" "$(command -v "$program" || true)" "$to/$program"; do
	if [ -n "$candidate" ] && is_mysql "$candidate"; then
		echo "$candidate"
		exit 0
	fi
done
if ! command -v apt-get >/dev/null; then
	echo "The tests need $program: install it with this system's package manager, or name it in $variable." >&2
	exit 1
fi

# The suite is read from the mirror that this system uses.
mirror=$({ cat /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list 2>/dev/null || true; } |
	grep -v '^ *#' | grep -oE '(https?|file)://[^] ]+' | grep -v security | head -1 || true)
[ -n "$mirror" ] || { echo "No package mirror is configured: name a $program in $variable." >&2; exit 1; }
mkdir -p "$(dirname "$to")"
new=$(mktemp -d "$to.XXXXXX")
trap 'rm -rf "$new"' EXIT
mkdir -p "$new"/apt/lists/partial "$new"/apt/cache/archives/partial "$new/root"
: >"$new/apt/status"
keyring=
[ ! -f /usr/share/keyrings/debian-archive-keyring.gpg ] || keyring='[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] '
echo "deb $keyring${mirror%/} sid main" >"$new/apt/sources.list"
options=(-o Dir::Etc::sourcelist="$new/apt/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State::Lists="$new/apt/lists"
	-o Dir::Cache="$new/apt/cache" -o Dir::State::status="$new/apt/status" -o APT::Sandbox::User="$(id -un)" -o Debug::NoLocking=1)
apt-get "${options[@]}" update -qq >&2
apt-get "${options[@]}" -y -qq --no-install-recommends --download-only install "$package=$version*" >&2
for archive in "$new"/apt/cache/archives/*.deb; do dpkg-deb -x "$archive" "$new/root"; done
rm -rf "$new/apt"

# wrap NAME PATH LIBRARIES ARGUMENTS makes a command that runs with the C library of its own suite.
wrap() {
	cat >"$new/$1" <<COMMAND
#!/bin/bash
here=\$(cd "\$(dirname "\$0")" && pwd)
library=\$here/root/usr/lib/\$(uname -m)-linux-gnu
exec "\$(echo "\$library"/ld-linux-*.so.*)" --library-path "\$library:\$here/root/usr/lib/$3" "\$here/root/usr/$2" "\$@" $4
COMMAND
	chmod +x "$new/$1"
}
if [ "$program" = mysqld ]; then
	wrap mysqld sbin/mysqld mysql/private '--basedir="$here/root/usr" --lc-messages-dir="$here/root/usr/share/mysql" \
	--character-sets-dir="$here/root/usr/share/mysql/charsets" --plugin-dir="$here/root/usr/lib/mysql/plugin"'
else
	wrap mysqlrouter bin/mysqlrouter mysql-router '--DEFAULT.plugin_folder="$here/root/usr/lib/mysqlrouter/plugin"'
	wrap mysqlrouter_keyring bin/mysqlrouter_keyring mysql-router ''
fi
is_mysql "$new/$program" || { echo "The $program that was unpacked does not run." >&2; exit 1; }
rm -rf "$to"
mv "$new" "$to"
trap - EXIT
echo "$to/$program"
