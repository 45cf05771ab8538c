package runbooks_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/runbooks"
)

var update = flag.Bool("update", false, "write the golden files anew")

// planted stands in the test files where people by mistake write secrets. No error may have it.
const planted = "hunter2"

// TestProblems loads each archive of testdata/problems as a folder and compares the error with the archive's file "want".
// An archive without an estate of its own gets testdata/base.estate.yaml.
func TestProblems(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("testdata/problems/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	base, err := os.ReadFile("testdata/base.estate.yaml")
	require.NoError(t, err)
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(path)
			require.NoError(t, err)
			dir, want, estate := t.TempDir(), "", base
			for _, file := range archive.Files {
				if file.Name == "want" {
					want = string(file.Data)
					continue
				}
				if strings.HasSuffix(file.Name, ".estate.yaml") {
					estate = nil
				}
				require.NoError(t, os.WriteFile(filepath.Join(dir, file.Name), file.Data, 0o600))
			}
			if estate != nil {
				require.NoError(t, os.WriteFile(filepath.Join(dir, "base.estate.yaml"), estate, 0o600))
			}
			_, err = runbooks.Load(dir)
			require.Error(t, err)
			var problems runbooks.Problems
			require.ErrorAs(t, err, &problems)
			got := strings.ReplaceAll(err.Error(), dir+"/", "") + "\n"
			require.NotContains(t, got, planted)
			if *update {
				rewrite(t, path, archive, got)
				return
			}
			require.Equal(t, want, got)
		})
	}
}

func rewrite(t *testing.T, path string, archive *txtar.Archive, got string) {
	t.Helper()
	kept := archive.Files[:0]
	for _, file := range archive.Files {
		if file.Name != "want" {
			kept = append(kept, file)
		}
	}
	archive.Files = append(kept, txtar.File{Name: "want", Data: []byte(got)})
	require.NoError(t, os.WriteFile(path, txtar.Format(archive), 0o644))
}

// estateOf writes an estate of n systems, each on one line.
func estateOf(n int) string {
	var text strings.Builder
	text.WriteString("estate: big\nsites: {east: {}, west: {}}\nsystems:\n")
	for i := range n {
		fmt.Fprintf(&text, "  s%d: {kind: postgresql, postgresql: {user: a, password: 'env:P', replication_user: r, replication_password: 'env:R'}, "+
			"members: {east: {address: 'a:%d'}}}\n", i, i%65000+1)
	}
	return text.String()
}

func TestLimits(t *testing.T) {
	t.Parallel()
	oneLine := "estate: x\nsystems: {" + strings.Repeat("a: {}, ", 10_000) + "}\n"
	tests := map[string]struct{ text, want string }{
		"5 MiB":             {"estate: x\n" + strings.Repeat("# padding\n", 5<<20/10), "x.yaml: the file is larger than the limit of 2 MiB; split it"},
		"10,000 systems":    {estateOf(10_000), "x.yaml:3:1: systems: 10000 systems; expected at most 2000 in one estate"},
		"2,001 systems":     {estateOf(2_001), "x.yaml:3:1: systems: 2001 systems; expected at most 2000 in one estate"},
		"systems in a line": {oneLine, "x.yaml:2:1: systems: 10000 systems; expected at most 2000 in one estate"},
		"all in brackets":   {"{estate: x, systems: {" + strings.Repeat("a: {},\n", 10_000) + "}}\n", "x.yaml:1:13: systems: 10000 systems"},
		"alias bomb": {"estate: x\na: &a [x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a]\nc: [*b, *b, *b, *b, *b]\n",
			"x.yaml:2:4: anchors, aliases and merge keys (&name, *name, <<) are not accepted"},
		"lists in brackets": {"estate: " + strings.Repeat("[", 200_000), "nested deeper than 24 levels"},
		"maps in brackets":  {"estate: " + strings.Repeat("{a: ", 1<<16), "nested deeper than 24 levels"},
		"lists of lists":    {strings.Repeat("- ", 1<<17) + "a", "nested deeper than 24 levels"},
		"explicit keys":     {strings.Repeat("? ", 1<<17) + "a", "nested deeper than 24 levels"},
		"keys in a line":    {strings.Repeat("a: ", 1<<17-1) + "a", "nested deeper than 24 levels"},
		"colons in a line":  {strings.Repeat(": ", 1<<17) + "a", "nested deeper than 24 levels"},
		"many commas":       {"estate: [" + strings.Repeat("a,", 1<<20-8) + "]", "the file has too many keys and values"},
		"many keys":         {"estate: x\n" + strings.Repeat("x: 1\n", 40_000), "more than 2500 keys or items at one level"},
		"many items":        {"estate:\n" + strings.Repeat("- x\n", 100_000), "more than 2500 keys or items at one level"},
		"long list":         {"estate: e\nsites: [" + strings.Repeat("a,", 100_000) + "]\nsystems: {}\n", "sites: expected keys and values, got a list"},
		"many quotes":       {"estate: " + strings.Repeat(`"`, 1<<20), "x.yaml"},
		"tags":              {"estate: !!str x\n", "x.yaml:1:9: tags (!name) are not accepted"},
		"merge key":         {"estate: x\nsites:\n  <<: {}\n", "x.yaml:3:3: anchors, aliases and merge keys"},
		"directive":         {"%YAML 1.2\n---\nestate: x\n", "x.yaml:1:1: YAML directives (%) are not accepted"},
		"two documents":     {"estate: x\n---\nestate: y\n", "x.yaml:2:1: a second document begins here"},
		"after the end":     {"estate: x\n...\nestate: y\n", "x.yaml:3:1: something follows the end of the document"},
		"empty":             {"", "x.yaml: the file is empty"},
		"comments only":     {"# nothing\n\n# here\n", "x.yaml: the file is empty"},
		"dashes only":       {"---\n", "x.yaml: the file is empty"},
		"not UTF-8":         {"estate: x\nsites: \xff\xfe\n", "x.yaml:2:8: the file is not UTF-8"},
		"NUL":               {"estate: x\n\x00", "x.yaml:2:1: the file is not text: it has a NUL byte"},
		"a list":            {"- estate: x\n", "x.yaml:1:1: expected an estate or a runbook, got a list"},
		"text":              {"hello\n", "x.yaml:1:1: expected an estate or a runbook, got text"},
		"neither":           {"estat: x\n", `neither an estate nor a runbook; expected the key estate or runbook at the top; did you mean "estate"?`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, "x.yaml"), []byte(test.text), 0o600))
			began := time.Now()
			_, err := runbooks.Load(dir)
			took := time.Since(began)
			require.ErrorContains(t, err, test.want)
			require.LessOrEqual(t, len(strings.Split(err.Error(), "\n")), 2, "a few lines are enough:\n%s", err)
			require.Less(t, took, 10*time.Second) // well below one on a quiet machine
		})
	}
}

func TestLargestEstateLoads(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "x.yaml"), []byte(estateOf(2_000)), 0o600))
	folder, err := runbooks.Load(dir)
	require.NoError(t, err)
	require.Len(t, folder.Estates()[0].Systems, 2_000)
}

func TestWhatIsNoFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	require.NoError(t, os.Mkdir(at("folder.yaml"), 0o700))
	require.NoError(t, os.Symlink("loop.yaml", at("loop.yaml")))
	require.NoError(t, os.Symlink("nowhere", at("dangling.yaml")))
	require.NoError(t, syscall.Mkfifo(at("pipe.yaml"), 0o600))
	require.NoError(t, os.WriteFile(at("old.yml"), []byte("estate: x"), 0o600))
	require.NoError(t, os.WriteFile(at(".hidden.yaml"), []byte("["), 0o600))
	require.NoError(t, os.WriteFile(at("notes.txt"), []byte("["), 0o600))
	require.NoError(t, os.Mkdir(at("sub"), 0o700))
	require.NoError(t, os.WriteFile(at("sub/x.yaml"), []byte("["), 0o600))
	_, err := runbooks.Load(dir)
	require.EqualError(t, err, strings.Join([]string{
		at("dangling.yaml") + ": the file cannot be read: no such file or directory",
		at("folder.yaml") + ": it is a folder; expected a file",
		at("loop.yaml") + ": the file cannot be read: too many levels of symbolic links",
		at("old.yml") + ": files that end in .yml are not read; expected .yaml; rename it",
		at("pipe.yaml") + ": it is not a regular file",
	}, "\n"))

	folder, err := runbooks.Load(at("nowhere"))
	require.Nil(t, folder)
	require.EqualError(t, err, "read the runbooks in "+at("nowhere")+": no such file or directory")
}

func TestLinksAreFollowed(t *testing.T) {
	t.Parallel()
	dir, elsewhere := t.TempDir(), t.TempDir()
	text, err := os.ReadFile("testdata/base.estate.yaml")
	require.NoError(t, err)
	windows := "\xef\xbb\xbf---\r\n" + strings.ReplaceAll(string(text), "\n", "\r\n")
	require.NoError(t, os.WriteFile(filepath.Join(elsewhere, "file"), []byte(windows), 0o600))
	require.NoError(t, os.Symlink(filepath.Join(elsewhere, "file"), filepath.Join(dir, "base.yaml")))
	folder, err := runbooks.Load(dir)
	require.NoError(t, err)
	require.Equal(t, "base", folder.Estates()[0].Name)
}

func TestProblemsAreCut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"a.yaml", "b.yaml"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("estate: x\n"+strings.Repeat("x: 1\n", 1_000)), 0o600))
	}
	_, err := runbooks.Load(dir)
	var problems runbooks.Problems
	require.ErrorAs(t, err, &problems)
	require.Len(t, problems, runbooks.MaxProblems+1)
	require.Contains(t, problems[runbooks.MaxProblems].Message, "more problems than the 50 above")
}

func TestOneWrongFileLeavesTheOthersUsable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	base, err := os.ReadFile("testdata/base.estate.yaml")
	require.NoError(t, err)
	runbook := "runbook: %s\noperation: watch\nestate: base\nwatch:\n  systems: [%s]\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "base.yaml"), base, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "good.yaml"), fmt.Appendf(nil, runbook, "good", "orders"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "wrong.yaml"), fmt.Appendf(nil, runbook, "wrong", "ordesr"), 0o600))
	folder, err := runbooks.Load(dir)
	require.Error(t, err)
	require.Len(t, folder.Runbooks(), 1)
	_, resolved := folder.Resolve("wrong", runbooks.Overrides{})
	require.Equal(t, err, resolved)
	_, err = folder.Resolve("good", runbooks.Overrides{})
	require.NoError(t, err)
}

func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"*.yaml", "testdata/*.yaml", "testdata/problems/*.txtar"} {
		paths, err := filepath.Glob(pattern)
		require.NoError(f, err)
		for _, path := range paths {
			archive, err := txtar.ParseFile(path)
			require.NoError(f, err)
			f.Add(archive.Comment)
			for _, file := range archive.Files {
				f.Add(file.Data)
			}
		}
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(dir, "x.yaml")
		require.NoError(t, os.WriteFile(path, text, 0o600))
		tooLong := time.AfterFunc(10*time.Second, func() { panic("Load does not end") }) // a hang would otherwise pass unseen
		defer tooLong.Stop()
		folder, err := runbooks.Load(dir)
		require.NotNil(t, folder)
		if err != nil {
			var problems runbooks.Problems
			require.ErrorAs(t, err, &problems)
			for _, p := range problems {
				require.NotEmpty(t, p.Message)
				require.Equal(t, path, p.File)
			}
		}
		for _, r := range folder.Runbooks() {
			_, _ = folder.Resolve(r.Name, runbooks.Overrides{From: "west", To: "east"})
		}
	})
}
