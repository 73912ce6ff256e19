package idempotency_test

import (
	"os"
	"testing"

	"cartwheel/database/databasetest"
)

func TestMain(m *testing.M) { os.Exit(databasetest.Main(m)) }
