#!/bin/bash
# Usage: mysql.sh [mysqld | mysqlrouter | mariadbd]
#
# Unpacks MySQL 9.7, its Router, or MariaDB 11.8 from Debian's unstable suite into the user's cache directory, beside
# the system, for tests and measurements. Prints the path of the command. Installs nothing; a repeat does nothing.
# Each program has a directory of its own, so that a cache without Router is completed. MYSQLD, or a mysqld of MySQL 8
# or later in PATH, is used instead of the server; MYSQLROUTER, or a mysqlrouter of 8 or later in PATH, instead of
# Router; MARIADBD, or a mariadbd of version 11.8 in PATH, instead of MariaDB.
set -euo pipefail
version=9.7
epoch=
program=${1:-mysqld}
is_usable=is_mysql

case $program in
mysqld) package=mysql-server-core directory=mysql variable=MYSQLD ;;
mysqlrouter) package=mysql-router directory=mysqlrouter variable=MYSQLROUTER ;;
mariadbd) package=mariadb-server-core directory=mariadb variable=MARIADBD version=11.8 epoch=1: is_usable=is_mariadb ;;
*)
	echo "There is no program $program: name mysqld, mysqlrouter or mariadbd." >&2
	exit 2
	;;
esac

is_mysql() {
	local said
	said=$("$1" --version 2>/dev/null) || return 1
	[[ $said != *MariaDB* && $said =~ Ver\ ([0-9]+)\. && ${BASH_REMATCH[1]} -ge 8 ]]
}

is_mariadb() { [[ $("$1" --version 2>/dev/null) == *Ver\ $version.*MariaDB* ]]; }

to=${XDG_CACHE_HOME:-$HOME/.cache}/cartwheel/$directory-$version
for candidate in "${!variable:-}" "$(command -v "$program" || true)" "$to/$program"; do
	if [ -n "$candidate" ] && $is_usable "$candidate"; then
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
apt-get "${options[@]}" -y -qq --no-install-recommends --download-only install "$package=$epoch$version*" >&2
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
elif [ "$program" = mariadbd ]; then
	wrap mariadbd sbin/mariadbd mariadb '--basedir="$here/root/usr" --lc-messages-dir="$here/root/usr/share/mariadb" \
	--character-sets-dir="$here/root/usr/share/mariadb/charsets"'
	# The package's mariadb-install-db needs programs of other packages. This one makes a root without a password.
	cat >"$new/mariadb-install-db" <<'COMMAND'
#!/bin/bash
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
options=()
for option; do
	case $option in
	--auth-root-authentication-method=normal | --skip-test-db) ;;
	--datadir=*) mkdir -p "${option#*=}" && options+=("$option") ;;
	*) options+=("$option") ;;
	esac
done
{
	printf '%s;\n' 'CREATE DATABASE mysql' 'USE mysql' 'SET @auth_root_socket = NULL, @skip_auth_anonymous = 1'
	cd "$here/root/usr/share/mariadb"
	cat mariadb_system_tables.sql mariadb_performance_tables.sql mariadb_system_tables_data.sql \
		maria_add_gis_sp_bootstrap.sql mariadb_sys_schema.sql
} | "$here/mariadbd" "${options[@]}" --bootstrap
COMMAND
	chmod +x "$new/mariadb-install-db"
else
	wrap mysqlrouter bin/mysqlrouter mysql-router '--DEFAULT.plugin_folder="$here/root/usr/lib/mysqlrouter/plugin"'
	wrap mysqlrouter_keyring bin/mysqlrouter_keyring mysql-router ''
fi
$is_usable "$new/$program" || { echo "The $program that was unpacked does not run." >&2; exit 1; }
rm -rf "$to"
mv "$new" "$to"
trap - EXIT
echo "$to/$program"
