package worker

import (
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/musterhq/muster/runbooks"
)

// estates are the folder's, as it is now: read anew when a file has changed, and not for each click.
type estates struct {
	dir string

	mu     sync.Mutex
	stamp  string
	folder *runbooks.Folder
	wrong  error // the problems of files that are left out
}

func (e *estates) load() (*runbooks.Folder, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	files, err := os.ReadDir(e.dir)
	if err != nil {
		return nil, fmt.Errorf("read the estates in %s: %w", e.dir, err)
	}
	var stamp strings.Builder
	for _, f := range files {
		if info, err := f.Info(); err == nil {
			fmt.Fprintln(&stamp, f.Name(), info.Size(), info.ModTime().UnixNano())
		}
	}
	if e.folder != nil && e.stamp == stamp.String() {
		return e.folder, nil
	}
	folder, err := runbooks.Load(e.dir)
	if folder == nil {
		return nil, err
	}
	e.folder, e.stamp, e.wrong = folder, stamp.String(), err // the files without problems are usable
	return folder, nil
}

func (e *estates) named(name string) (runbooks.Estate, error) {
	folder, err := e.load()
	if err != nil {
		return runbooks.Estate{}, err
	}
	for _, estate := range folder.Estates() {
		if estate.Name == name {
			return estate, nil
		}
	}
	return runbooks.Estate{}, fmt.Errorf("no file in %s has an estate called %q, or it has problems (next: muster validate %s)", e.dir, name, e.dir)
}

// server returns how a gateway is to be served, and where people reach it.
func (e *estates) server(name string) (runbooks.GatewayServer, string, error) {
	folder, err := e.load()
	if err != nil {
		return runbooks.GatewayServer{}, "", err
	}
	var found []string
	var server runbooks.GatewayServer
	var url string
	for _, estate := range folder.Estates() {
		if g := estate.Gateways[name]; g.Serve != nil {
			found, server, url = append(found, estate.Name), *g.Serve, g.URL
		}
	}
	switch len(found) {
	case 1:
		return server, url, nil
	case 0:
		if e.wrong != nil {
			return server, "", fmt.Errorf("no estate without problems says how to serve gateway %q: %w", name, e.wrong)
		}
		return server, "", fmt.Errorf("no estate in %s says how to serve gateway %q (next: add gateways.%s.serve to one, see runbooks/README.md, and muster validate %s)", e.dir, name, name, e.dir)
	}
	return server, "", fmt.Errorf("gateway %q is to be served by %v: one estate only may say how (next: remove gateways.%s.serve from the others)", name, found, name)
}
