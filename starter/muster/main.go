// Command muster starts, shows and decides runs. It links no engine: it talks to one.
package main

import (
	"os"

	"github.com/musterhq/muster/starter"
)

func main() { os.Exit(starter.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
