package dbserver

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// oldestMySQL is the first major version of MySQL that Cartwheel supports.
const oldestMySQL = 8

var versionPattern = regexp.MustCompile(`Ver (\d+)\.`)

// findMariaDB returns the mariadbd that MARIADBD names, with the mariadb-install-db beside it, or
// the system's.
func findMariaDB() (server, installer string, err error) {
	if named := os.Getenv("MARIADBD"); named != "" {
		return beside(named)
	}
	for _, candidate := range candidates("mariadbd", "mysqld") {
		if version, ok := versionOf(candidate); ok && strings.Contains(version, "MariaDB") {
			server = candidate
			break
		}
	}
	for _, candidate := range candidates("mariadb-install-db", "mysql_install_db") {
		installer = candidate
		break
	}
	if server == "" || installer == "" {
		return "", "", fmt.Errorf("MariaDB is %w (Debian: apt-get install mariadb-server, macOS: brew install mariadb)", ErrNotInstalled)
	}
	return server, installer, nil
}

// beside returns a MariaDB server and the installer in its directory.
func beside(server string) (_, installer string, err error) {
	installer = filepath.Join(filepath.Dir(server), "mariadb-install-db")
	if version, ok := versionOf(server); !ok || !strings.Contains(version, "MariaDB") {
		return "", "", fmt.Errorf("%s is not MariaDB", server)
	}
	if _, err := exec.LookPath(installer); err != nil {
		return "", "", fmt.Errorf("%s has no installer beside it: %w", server, err)
	}
	return server, installer, nil
}

// findMySQL returns the mysqld that MYSQLD names, the system's, or the one that mysql.sh unpacked.
func findMySQL() (string, error) {
	if named := os.Getenv("MYSQLD"); named != "" {
		if !isMySQL(named) {
			return "", fmt.Errorf("%s, which MYSQLD names, is not MySQL %d or later", named, oldestMySQL)
		}
		return named, nil
	}
	paths := candidates("mysqld")
	if cache, err := os.UserCacheDir(); err == nil {
		unpacked, _ := filepath.Glob(filepath.Join(cache, "cartwheel", "mysql-*", "mysqld")) // the pattern is valid
		paths = append(paths, unpacked...)
	}
	for _, path := range paths {
		if isMySQL(path) {
			return path, nil
		}
	}
	return "", fmt.Errorf("MySQL is %w (Debian: make mysql, macOS: brew install mysql; or name a mysqld in MYSQLD)", ErrNotInstalled)
}

func isMySQL(program string) bool {
	version, ok := versionOf(program)
	if !ok || strings.Contains(version, "MariaDB") {
		return false
	}
	match := versionPattern.FindStringSubmatch(version)
	if match == nil {
		return false
	}
	major, err := strconv.Atoi(match[1])
	return err == nil && major >= oldestMySQL
}

func versionOf(program string) (string, bool) {
	output, err := exec.CommandContext(context.Background(), program, "--version").Output()
	return string(output), err == nil
}

// candidates returns the paths at which programs are, also in directories of servers that PATH may
// leave out.
func candidates(names ...string) (paths []string) {
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			paths = append(paths, path)
		}
		for _, folder := range []string{
			"/usr/sbin", "/usr/local/sbin", "/usr/libexec", "/usr/local/mysql/bin", "/opt/homebrew/bin",
			"/opt/homebrew/opt/mysql/bin", "/usr/local/opt/mysql/bin", "/usr/local/bin",
		} {
			if path, err := exec.LookPath(filepath.Join(folder, name)); err == nil {
				paths = append(paths, path)
			}
		}
	}
	return paths
}
