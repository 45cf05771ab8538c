package runbooks

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"

	"github.com/goccy/go-yaml/ast"
)

const maxFiles = 500

// Folder is the estates and runbooks of one folder, as they stood when it was loaded.
type Folder struct {
	Dir      string
	estates  map[string]*document
	runbooks map[string]*document
	unread   Problems // of files that are neither estate nor runbook, or cannot be told
}

// Load reads every *.yaml file of dir (not of the folders in it; hidden files are left out) and checks all of them.
// Its error is of type Problems where files are wrong. The Folder is then returned as well: its other files are usable,
// and Resolve refuses the wrong ones with their problems. The Folder is nil only where dir cannot be read.
func Load(dir string) (*Folder, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read the runbooks in %s: %w", dir, reason(err))
	}
	var documents []*document
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, ".") {
			continue
		}
		switch filepath.Ext(name) {
		case ".yaml":
			if len(documents) == maxFiles {
				return nil, fmt.Errorf("read the runbooks in %s: it has more than the limit of %d .yaml files", dir, maxFiles)
			}
			documents = append(documents, readDocument(filepath.Join(dir, name)))
		case ".yml":
			d := newDocument(filepath.Join(dir, name))
			d.problemAt(nil, "rename it", "files that end in .yml are not read; expected .yaml")
			documents = append(documents, d)
		}
	}
	f := &Folder{Dir: dir, estates: map[string]*document{}, runbooks: map[string]*document{}}
	return f, f.connect(documents)
}

func readDocument(path string) *document {
	d := newDocument(path)
	text, err := readFile(path)
	if err != nil {
		d.problemAt(nil, "", "%s", err)
		return d
	}
	d.read(text)
	return d
}

func readFile(path string) ([]byte, error) {
	// Without O_NONBLOCK, opening a named pipe would wait for its writer.
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("the file cannot be read: %w", reason(err))
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, fmt.Errorf("the file cannot be read: %w", reason(err))
	case info.IsDir():
		return nil, errors.New("it is a folder; expected a file")
	case !info.Mode().IsRegular():
		return nil, errors.New("it is not a regular file")
	}
	text, err := io.ReadAll(io.LimitReader(file, MaxFileSize+1))
	if err != nil {
		return nil, fmt.Errorf("the file cannot be read: %w", reason(err))
	}
	return text, nil
}

// read sets the document's estate or runbook from text; a document that has runbook: is a runbook.
func (d *document) read(text []byte) {
	root := d.parse(text)
	if root == nil {
		return
	}
	if _, isMapping := root.(*ast.MappingNode); !isMapping {
		d.problemAt(root.GetToken(), "begin it with estate: NAME or runbook: NAME", "expected an estate or a runbook, got %s", kindOf(root))
		return
	}
	entries, _ := d.entries(root, "")
	if len(entries) > 0 {
		d.at[""] = entries[0].place
	}
	d.problems = nil // a key that is no text is told when the keys are read as an estate or a runbook
	has := func(key string) bool { return slices.ContainsFunc(entries, func(e entry) bool { return e.key == key }) }
	switch {
	case has("runbook"):
		d.runbook = &Runbook{}
		d.decode(root, reflect.ValueOf(d.runbook).Elem(), "", nil)
	case has("estate"):
		d.estate = &Estate{}
		d.decode(root, reflect.ValueOf(d.estate).Elem(), "", nil)
		if d.systemsWithinLimit() {
			d.checkEstate(d.estate)
		}
	default:
		next := "begin it with estate: NAME or runbook: NAME"
		for _, e := range entries {
			if word := didYouMean(e.key, []string{"estate", "runbook"}); word != "" {
				next = word
				break
			}
		}
		d.problemAt(root.GetToken(), next, "neither an estate nor a runbook; expected the key estate or runbook at the top")
	}
}

func (d *document) systemsWithinLimit() bool {
	n := len(d.estate.Systems)
	if n > MaxSystems {
		d.problem("systems", "split the estate", "%d systems; expected at most %d in one estate", n, MaxSystems)
	}
	return n <= MaxSystems
}

// connect finds each runbook's estate, checks the runbooks, and returns the problems of all documents.
func (f *Folder) connect(documents []*document) error {
	unread := false
	for _, d := range documents {
		switch {
		case d.estate != nil:
			f.add(f.estates, d, "estate", d.estate.Name)
		case d.runbook != nil:
			f.add(f.runbooks, d, "runbook", d.runbook.Name)
		default:
			unread = true
		}
	}
	var all Problems
	for _, d := range documents {
		if d.runbook != nil {
			f.checkWithEstate(d, unread)
		}
		d.problems.sort()
		all = append(all, d.problems...)
		if d.estate == nil && d.runbook == nil {
			f.unread = append(f.unread, d.problems...)
		}
	}
	all.sort()
	return all.err()
}

func (f *Folder) add(to map[string]*document, d *document, key, name string) {
	if name == "" {
		return
	}
	if first, taken := to[name]; taken {
		d.problem(key, "rename one of them", "the %s %s is in %s already (line %d)", key, shown(name), first.file, first.at[key].line)
		return
	}
	to[name] = d
}

// checkWithEstate does not miss an estate while a file is unread: it may be in there.
func (f *Folder) checkWithEstate(d *document, unread bool) {
	r := d.runbook
	of, known := f.estates[r.Estate]
	if !known {
		if d.has("estate") && !unread {
			d.unknown("estate", "estate", r.Estate, sorted(f.estates))
		}
		d.checkRunbook(r, nil, false)
		return
	}
	d.checkRunbook(r, of.estate, len(of.problems) == 0)
}

// Estates lists the estates without problems, by name.
func (f *Folder) Estates() []Estate {
	var list []Estate
	for _, name := range sorted(f.estates) {
		if d := f.estates[name]; len(d.problems) == 0 {
			list = append(list, *d.estate)
		}
	}
	return list
}

// Runbooks lists the runbooks without problems, by name; Resolve may still refuse one for its estate's problems.
func (f *Folder) Runbooks() []Runbook {
	var list []Runbook
	for _, name := range sorted(f.runbooks) {
		if d := f.runbooks[name]; len(d.problems) == 0 {
			list = append(list, *d.runbook)
		}
	}
	return list
}

// reason drops the path from err: what reports it names the file already.
func reason(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}
