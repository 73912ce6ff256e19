//go:build unix

package sqlite

import (
	"os"
	"syscall"
)

// ownLike gives a file the owner of the folder: root restores what another user's server opens.
func ownLike(path, folder string) error {
	info, err := os.Stat(folder)
	if err != nil || os.Getuid() != 0 {
		return err
	}
	stat := info.Sys().(*syscall.Stat_t) //nolint:forcetypeassert // it is on unix
	return os.Chown(path, int(stat.Uid), int(stat.Gid))
}
