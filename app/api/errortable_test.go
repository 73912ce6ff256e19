package api

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// beyondTheEdge are the modules' errors that no request can end with, and why.
var beyondTheEdge = map[string]string{
	"database.ErrInUse":          "only a move finds a server on its data",
	"database.ErrNotEmbedded":    "only a move and a backup are for the embedded engine alone",
	"database.ErrMoved":          "only opening the database finds that its data were moved",
	"database.ErrNoData":         "only opening the database finds that there is none",
	"database.ErrDataDirLocked":  "only opening the database finds its directory taken",
	"database.ErrRetry":          "Transact runs the work again; when it gives up, that is ErrUnavailable",
	"database.ErrNothingToWrite": "Transact succeeds with it",
	"inventory.ErrShort":         "TX 2 turns it into a refund; the checkout ends as refunded or pending",
	"payment.ErrNoLookup":        "the audit asks by a void instead",
	"payment.ErrNotSent":         "the checkout is rolled back and answered as unpaid",
}

func TestErrorTable_hasEverySentinelOfTheModules(t *testing.T) {
	t.Parallel()
	tabled := sentinelsInTable(t)
	declared := map[string]bool{}
	for _, dir := range []string{"cart", "cart/idempotency", "checkout", "inventory", "payment", "queue", "database"} {
		for _, name := range sentinelsOf(t, dir) {
			declared[name] = true
			_, excused := beyondTheEdge[name]
			switch {
			case tabled[name] && excused:
				t.Errorf("%s is in the error table, and also said never to reach it", name)
			case !tabled[name] && !excused:
				t.Errorf("%s has no row: add it to errorTable, or to beyondTheEdge with the reason", name)
			}
		}
	}
	for name := range beyondTheEdge {
		if !declared[name] {
			t.Errorf("beyondTheEdge excuses %s, which does not exist", name)
		}
	}
	for name := range tabled {
		if !declared[name] && !strings.HasPrefix(name, "context.") {
			t.Errorf("the table has %s, which none of the modules declares", name)
		}
	}
}

// sentinelsOf lists the exported Err… variables of a package, as package.Name.
func sentinelsOf(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", filepath.FromSlash(dir), "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no source of %s: %v", dir, err)
	}
	var names []string
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, declaration := range source.Decls {
			general, ok := declaration.(*ast.GenDecl)
			if !ok || general.Tok != token.VAR {
				continue
			}
			for _, spec := range general.Specs {
				for _, name := range spec.(*ast.ValueSpec).Names {
					if strings.HasPrefix(name.Name, "Err") {
						names = append(names, filepath.Base(dir)+"."+name.Name)
					}
				}
			}
		}
	}
	if len(names) == 0 {
		t.Errorf("%s declares no Err…: is this test looking in the right place?", dir)
	}
	return names
}

// sentinelsInTable lists the sentinels in the source of the error table.
func sentinelsInTable(t *testing.T) map[string]bool {
	t.Helper()
	source, err := parser.ParseFile(token.NewFileSet(), "errortable.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	ast.Inspect(source, func(n ast.Node) bool {
		table, ok := n.(*ast.CompositeLit)
		if ok {
			_, ok = table.Type.(*ast.ArrayType)
		}
		if !ok {
			return true
		}
		for _, element := range table.Elts {
			rowLit, ok := element.(*ast.CompositeLit)
			if !ok || len(rowLit.Elts) != 2 {
				continue
			}
			chosen := rowLit.Elts[0].(*ast.SelectorExpr)
			name := chosen.X.(*ast.Ident).Name + "." + chosen.Sel.Name
			if names[name] {
				t.Errorf("%s is in the table twice", name)
			}
			names[name] = true
		}
		return true
	})
	if len(names) != len(errorTable) {
		t.Errorf("found %d sentinels in the source of a table of %d", len(names), len(errorTable))
	}
	return names
}

func TestErrorTable_onlyRetriableRowsHaveRetryAfter(t *testing.T) {
	t.Parallel()
	for _, o := range errorTable {
		if want := o.status == 429 || o.status == 503; (o.retryAfter > 0) != want {
			t.Errorf("%v: %d with Retry-After %d", o.sentinel, o.status, o.retryAfter)
		}
	}
}
