package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// mayImport says which of our packages a package may import, and so which way imports point. A
// package that is not here is new: add it, and say whom it may know.
var mayImport = map[string][]string{
	".":                              {"app"},
	"app":                            {"app/admin", "app/admin/dashboard", "app/admin/metrics", "app/api", "app/commands", "cart", "cart/idempotency", "checkout", "checkout/webhook", "database", "inventory", "migrations", "payment", "queue"},
	"app/admin":                      {"app/admin/metrics"},
	"app/api":                        {"app/admin/metrics", "cart", "cart/idempotency", "checkout", "database", "docs", "inventory", "payment", "queue"},
	"app/certificatetest":            {},
	"app/commands":                   {"cart", "checkout", "database", "inventory", "migrations", "payment"},
	"app/admin/dashboard":            {"app/admin/metrics", "checkout", "docs", "inventory"},
	"app/admin/metrics":              {"checkout", "database", "payment", "queue"},
	"checkout":                       {"cart", "cart/idempotency", "database", "inventory", "payment", "queue"},
	"checkout/webhook":               {},
	"cart":                           {"cart/idempotency", "database", "inventory", "queue"},
	"cart/idempotency":               {"database"},
	"inventory":                      {"database"},
	"migrations":                     {"database"},
	"database":                       {"database/engine", "database/mysql", "database/sqlite"},
	"database/engine":                {},
	"database/mysql":                 {"database/engine"},
	"database/sqlite":                {"database/engine"},
	"payment":                        {},
	"payment/reference":              {"payment"},
	"queue":                          {},
	"docs":                           {},
	"database/databasetest":          {"database", "database/databasetest/dbserver", "migrations"},
	"database/databasetest/dbserver": {},
	"database/databasetest/proxy":    {},
}

// owns says which tables a store may name.
var owns = map[string][]string{
	"cart":             {"client_cart"},
	"cart/idempotency": {"idempotency_key"},
	"checkout":         {"checkout_journal"},
	"inventory":        {"product_details", "product_guard", "reserve_purchase"},
}

// A source is one of our files that is no test.
type source struct {
	folder, name string
	file         *ast.File
}

func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(".", func(p string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (p == "e2e" || p == "bench" || p == "examples" || entry.Name() == "testdata" || len(entry.Name()) > 1 && entry.Name()[0] == '.'):
			return filepath.SkipDir
		case entry.IsDir() || !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.SkipObjectResolution)
		p = filepath.ToSlash(p)
		all = append(all, source{path.Dir(p), path.Base(p), file})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestImports_pointOneWay(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, s := range sources(t) {
		allowed, known := mayImport[s.folder]
		if !known {
			t.Errorf("%s is not in mayImport: say whom it may know", s.folder)
			continue
		}
		seen[s.folder] = true
		for _, spec := range s.file.Imports {
			name, _ := strconv.Unquote(spec.Path.Value)
			ours, is := strings.CutPrefix(name, "cartwheel/")
			if is && !slices.Contains(allowed, ours) {
				t.Errorf("%s/%s imports %s: it may know %v", s.folder, s.name, ours, allowed)
			}
		}
	}
	for folder := range maps.Keys(mayImport) {
		if !seen[folder] {
			t.Errorf("%s is in mayImport, and is gone", folder)
		}
	}
}

func TestBoundaries_onlyDatabaseKnowsTheEngine(t *testing.T) {
	t.Parallel()
	drivers := regexp.MustCompile(`^"(github\.com/go-sql-driver/mysql|modernc\.org/sqlite)(/|"$)`)
	for _, s := range sources(t) {
		if strings.HasPrefix(s.folder, "database") || s.folder == "migrations" {
			continue
		}
		for _, spec := range s.file.Imports {
			if drivers.MatchString(spec.Path.Value) {
				t.Errorf("%s/%s imports %s: engines are database's alone", s.folder, s.name, spec.Path.Value)
			}
		}
	}
}

func TestBoundaries_sqlStandsInStores(t *testing.T) {
	t.Parallel()
	statement := regexp.MustCompile(`\b(SELECT|INSERT INTO|UPDATE|DELETE FROM)\b`)
	for _, s := range sources(t) {
		own, isModule := owns[s.folder]
		if !isModule {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			literal, ok := n.(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING {
				return true
			}
			if s.name != "store.go" && statement.MatchString(literal.Value) {
				t.Errorf("%s/%s has SQL, which belongs into store.go: %s", s.folder, s.name, literal.Value)
			}
			for owner, tables := range owns {
				for _, table := range tables {
					foreign := regexp.MustCompile(`\b(FROM|INTO|UPDATE|JOIN)\s+` + table + `\b`)
					if owner != s.folder && !slices.Contains(own, table) && (foreign.MatchString(literal.Value) || literal.Value == `"`+table+`"`) {
						t.Errorf("%s/%s names %s, which belongs to %s", s.folder, s.name, table, owner)
					}
				}
			}
			return true
		})
	}
}
