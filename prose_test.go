package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// testName is the form of a test's name: a subject, an underscore, and a behaviour.
var testName = regexp.MustCompile(`^Test[A-Z][A-Za-z0-9]*_[a-z0-9][A-Za-z0-9]*$`)

func TestProse_testsAreNamedForSubjectAndBehaviour(t *testing.T) {
	t.Parallel()
	for path, file := range goFiles(t) {
		if !strings.HasSuffix(path, "_test.go") {
			continue
		}
		for _, declaration := range file.Decls {
			function, ok := declaration.(*ast.FuncDecl)
			if !ok || function.Recv != nil || !strings.HasPrefix(function.Name.Name, "Test") || function.Name.Name == "TestMain" {
				continue
			}
			if !testName.MatchString(function.Name.Name) {
				t.Errorf("%s: %s is not of the form TestSubject_behaviour", path, function.Name.Name)
			}
		}
	}
}

// maxColumns is the maximum width of a comment line in columns; a tab counts as 4.
const maxColumns = 100

func TestProse_commentsFitTheirColumns(t *testing.T) {
	t.Parallel()
	for _, path := range textFiles(t) {
		if filepath.Ext(path) != ".go" {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for number, line := range strings.Split(string(text), "\n") {
			comment := strings.TrimLeft(line, "\t")
			if !strings.HasPrefix(comment, "// ") || strings.HasPrefix(comment, "// @") {
				continue
			}
			if columns := 3*(len(line)-len(comment)) + utf8.RuneCountInString(line); columns > maxColumns {
				t.Errorf("%s:%d: a comment line of %d columns, want %d at most", path, number+1, columns, maxColumns)
			}
		}
	}
}

// banned are words and identifiers that have a standard term: see the glossary.
var banned = regexp.MustCompile(`\b(in vain|at last|of no use|lest|ForNow|ForFree|RunAgain|Barred|landed)\b`)

func TestProse_standardTermsInCodeAndDocuments(t *testing.T) {
	t.Parallel()
	for _, path := range textFiles(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for number, line := range strings.Split(string(text), "\n") {
			if found := banned.FindString(line); found != "" && path != "prose_test.go" {
				t.Errorf("%s:%d: %q has a standard term", path, number+1, found)
			}
		}
	}
}

func TestProse_logKeysAreSnakeCase(t *testing.T) {
	t.Parallel()
	key := regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	for path, file := range goFiles(t) {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			method, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || !isLogger(method.X) {
				return true
			}
			first := map[string]int{"Debug": 1, "Info": 1, "Warn": 1, "Error": 1, "Log": 3}[method.Sel.Name]
			if first == 0 {
				return true
			}
			for i := first; i < len(call.Args); i += 2 {
				literal, ok := call.Args[i].(*ast.BasicLit)
				if ok && literal.Kind == token.STRING && !key.MatchString(strings.Trim(literal.Value, `"`)) {
					t.Errorf("%s: the log key %s is not snake_case", path, literal.Value)
				}
			}
			return true
		})
	}
}

// isLogger reports whether an expression is called log.
func isLogger(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name == "log"
	case *ast.SelectorExpr:
		return e.Sel.Name == "log" || e.Sel.Name == "Log"
	}
	return false
}

func goFiles(t *testing.T) map[string]*ast.File {
	t.Helper()
	files := map[string]*ast.File{}
	for _, path := range textFiles(t) {
		if filepath.Ext(path) != ".go" {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files[path] = file
	}
	return files
}

// textFiles are our Go files and documents.
func textFiles(t *testing.T) []string {
	t.Helper()
	var paths []string
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && path != "." && strings.HasPrefix(entry.Name(), ".") {
			return filepath.SkipDir
		}
		generated := strings.HasSuffix(path, ".gen.go")
		if extension := filepath.Ext(path); !generated && (extension == ".go" || extension == ".md") {
			paths = append(paths, path)
		}
		return nil
	})
	if err != nil || len(paths) == 0 {
		t.Fatalf("found %d files: %v", len(paths), err)
	}
	return paths
}
