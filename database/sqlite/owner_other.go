//go:build !unix

package sqlite

// ownLike does nothing: a file inherits the folder's permissions there.
func ownLike(string, string) error { return nil }
