package api

import (
	"os"
	"testing"

	"cartwheel/database/databasetest"
)

// TestMain finds goroutines that the tests leave behind.
func TestMain(m *testing.M) { os.Exit(databasetest.Main(m)) }
