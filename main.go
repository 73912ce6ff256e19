// Cartwheel keeps a shop's carts, stock and checkouts.
package main

import (
	"os"

	"cartwheel/app"
)

func main() {
	os.Exit(app.Main(os.Args[1:], app.Console{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
