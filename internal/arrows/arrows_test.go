// Package arrows proves that the linter's configuration keeps the rooms apart: every depguard rule of .golangci.yml
// is crossed once on purpose, and must object. It runs the linter's own analyzer on that very file, in milliseconds;
// linter_test.go does the same once with golangci-lint itself, as part of `make lint`.
package arrows

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/OpenPeeDeeP/depguard/v2"
	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"
	"golang.org/x/tools/go/analysis"
)

const (
	root   = "../.."
	module = "github.com/musterhq/muster"
)

// Room by room: what a file there may import, and which rule objects where it may not ("" for none).
var arrows = []struct{ file, imports, rule string }{
	{"runbooks/load.go", module + "/internal/journal", ""},
	{"runbooks/load.go", module + "/activities", "runbooks-know-no-room"},
	{"runbooks/load_test.go", module + "/starter", "runbooks-know-no-room"},

	{"internal/journal/chain.go", module + "/internal/local", ""},
	{"internal/journal/chain.go", module + "/runbooks", "internal-knows-no-room"},
	{"internal/secret/secret.go", module + "/runbooks", ""},
	{"internal/secret/secret.go", module + "/activities", "secrets-know-runbooks"},

	{"activities/contract.go", module + "/runbooks", ""},
	{"activities/contract.go", module + "/activities/postgres", "contract-knows-no-driver"},
	{"activities/contract.go", module + "/workflows/run", "contract-knows-no-driver"},

	{"activities/postgres/promote.go", module + "/activities", ""},
	{"activities/postgres/promote.go", module + "/internal/secret", ""},
	{"activities/postgres/promote.go", module + "/activities/host", "drivers-know-no-sibling"},
	{"activities/postgres/promote.go", module + "/activities/drivertest", "drivers-know-no-sibling"},
	{"activities/postgres/promote.go", module + "/workflows/run", "drivers-know-no-sibling"},
	{"activities/steps/steps.go", module + "/activities/postgres", "drivers-know-no-sibling"},
	{"activities/postgres/promote.go", module + "/worker", "drivers-know-no-sibling"},
	{"activities/postgres/promote_test.go", module + "/activities/drivertest", ""},
	{"activities/postgres/promote_test.go", module + "/deploy/sandbox", ""},
	{"activities/postgres/promote_test.go", module + "/workflows", "driver-tests-know-no-workflow"},
	{"activities/postgres/promote_test.go", module + "/worker", "driver-tests-know-no-workflow"},

	{"workflows/failover/workflow.go", module + "/activities", ""},
	{"workflows/failover/workflow.go", module + "/workflows/run", ""},
	{"workflows/failover/workflow.go", "go.temporal.io/sdk/workflow", ""},
	{"workflows/failover/workflow.go", "net/url", ""},
	{"workflows/failover/workflow.go", module + "/activities/postgres", "workflows-know-no-driver"},
	{"workflows/failover/workflow_test.go", module + "/activities/postgres", "workflows-know-no-driver"},
	{"workflows/failover/workflow.go", module + "/worker", "workflows-know-no-driver"},
	{"workflows/registry.go", module + "/starter", "workflows-know-no-driver"},
	{"workflows/failover/workflow.go", "os", "workflows-are-deterministic"},
	{"workflows/failover/workflow.go", "os/exec", "workflows-are-deterministic"},
	{"workflows/failover/workflow.go", "net", "workflows-are-deterministic"},
	{"workflows/failover/workflow.go", "net/http", "workflows-are-deterministic"},
	{"workflows/failover/workflow.go", "database/sql", "workflows-are-deterministic"},
	{"workflows/failover/workflow.go", "github.com/jackc/pgx/v5", "workflows-are-deterministic"},
	{"workflows/failover/workflow.go", "go.temporal.io/sdk/client", "workflows-are-deterministic"},
	{"workflows/replay_test.go", "os", ""},
	{"workflows/replay_test.go", "go.temporal.io/sdk/worker", ""},

	{"starter/run.go", module + "/workflows/run", ""},
	{"starter/report.go", module + "/activities/evidence", ""},
	{"starter/run.go", module + "/worker", "starter-never-links-the-engine"},
	{"starter/run.go", module + "/worker/engine", "starter-never-links-the-engine"},
	{"starter/muster/main.go", module + "/worker/engine", "starter-never-links-the-engine"},
	{"starter/run.go", module + "/activities/postgres", "starter-never-links-the-engine"},
	{"starter/run.go", "go.temporal.io/server/temporal", "only-the-engine-links-temporal"},

	{"worker/worker.go", module + "/activities/postgres", ""},
	{"worker/worker.go", module + "/worker/engine", ""},
	{"worker/worker.go", module + "/starter", "worker-knows-no-starter"},
	{"worker/worker.go", "go.temporal.io/server/temporal", "only-the-engine-links-temporal"},
	{"worker/gateway/page.go", "github.com/temporalio/ui-server/v2/server", "only-the-engine-links-temporal"},
	{"worker/engine/server.go", "go.temporal.io/server/temporal", ""},
	{"worker/engine/ui.go", "github.com/temporalio/ui-server/v2/server", ""},

	{"worker/gateway/hear.go", module + "/activities", ""},
	{"worker/gateway/hear.go", module + "/workflows/run", ""},
	{"worker/gateway/hear.go", module + "/internal/sshsig", ""},
	{"worker/gateway/hear_test.go", module + "/worker/gateway/gatewaytest", ""},
	{"worker/gateway/hear.go", module + "/activities/slack", "gateway-knows-no-driver"},
	{"worker/gateway/hear_test.go", module + "/activities/slack/slacktest", "gateway-knows-no-driver"},
	{"worker/gateway/hear.go", module + "/workflows", "gateway-knows-no-driver"},
	{"worker/gateway/hear.go", module + "/worker", "gateway-knows-no-driver"},
	{"worker/gateway/gatewaytest/issuer.go", module + "/activities/pagerduty", "gateway-knows-no-driver"},

	{"deploy/sandbox/sandbox.go", module + "/runbooks", ""},
	{"deploy/sandbox/sandbox.go", module + "/deploy", ""},
	{"deploy/sandbox/sandbox.go", module + "/starter", "deploy-knows-no-room"},

	{"deploy/bench/main.go", module + "/activities/postgres", ""},
	{"deploy/bench/main.go", module + "/worker", "bench-composes-without-the-engine"},
	{"deploy/e2e/runs_test.go", module + "/workflows/run", ""},
	{"deploy/e2e/gates_test.go", module + "/activities/slack/slacktest", ""},
	{"deploy/e2e/gates_test.go", module + "/worker/gateway/gatewaytest", ""},
	{"deploy/e2e/gates_test.go", module + "/activities/slack", "end-to-end-tests-stay-outside"},
	{"deploy/e2e/gates_test.go", module + "/worker/gateway", "end-to-end-tests-stay-outside"},
	{"deploy/e2e/runs_test.go", module + "/activities/postgres", "end-to-end-tests-stay-outside"},
	{"deploy/e2e/runs_test.go", module + "/worker", "end-to-end-tests-stay-outside"},

	{"runbooks/load.go", "github.com/goccy/go-yaml", ""},
	{"runbooks/load.go", "gopkg.in/yaml.v3", "everywhere"},
	{"starter/run_test.go", "github.com/pkg/errors", "everywhere"},
}

func TestForbiddenArrowsFail(t *testing.T) {
	t.Parallel()
	rules := load(t)
	crossed := map[string]bool{}
	for _, arrow := range arrows {
		t.Run(arrow.file+"->"+strings.TrimPrefix(arrow.imports, module+"/"), func(t *testing.T) {
			source := "package x\n\nimport _ \"" + arrow.imports + "\"\n"
			objections := rules.check(t, arrow.file, source)
			if arrow.rule == "" {
				require.Empty(t, objections)
				return
			}
			require.Len(t, objections, 1)
			require.Contains(t, objections[0], "import '"+arrow.imports+"' is not allowed from list '"+arrow.rule+"': ")
		})
		crossed[arrow.rule] = true
	}
	for name := range rules.settings {
		require.Contains(t, crossed, name, "a rule that is never crossed here may be one that never objects")
	}
}

func TestEveryRoomHasAnArrow(t *testing.T) {
	t.Parallel()
	for _, file := range goFiles(t) {
		room, _, nested := strings.Cut(file, "/")
		covered := slices.ContainsFunc(arrows, func(a struct{ file, imports, rule string }) bool {
			return strings.HasPrefix(a.file, room+"/") && a.rule != ""
		})
		require.True(t, nested && covered, "%s is in a room that no rule of .golangci.yml speaks of", file)
	}
}

func TestTreeKeepsTheArrows(t *testing.T) {
	t.Parallel()
	rules := load(t)
	files := goFiles(t)
	require.NotEmpty(t, files)
	for _, file := range files {
		source, err := os.ReadFile(filepath.Join(root, file))
		require.NoError(t, err)
		require.Empty(t, rules.check(t, file, string(source)), file)
	}
}

// TestDriverTestsKnowNoSibling checks what depguard cannot say: a test of package x_test imports its own x. Of the others
// it may have the conformance suite, and host, because drivers are given their hosts.
func TestDriverTestsKnowNoSibling(t *testing.T) {
	t.Parallel()
	checked := 0
	for _, file := range goFiles(t) {
		below, isDriver := strings.CutPrefix(file, "activities/")
		driver, _, nested := strings.Cut(below, "/")
		if !isDriver || !nested || !strings.HasSuffix(file, "_test.go") {
			continue
		}
		checked++
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, file), nil, parser.ImportsOnly)
		require.NoError(t, err)
		for _, imported := range parsed.Imports {
			sibling, ok := strings.CutPrefix(strings.Trim(imported.Path.Value, `"`), module+"/activities/")
			sibling, _, _ = strings.Cut(sibling, "/") // a package below the driver is its own
			if ok {
				require.Contains(t, []string{driver, "drivertest", "host"}, sibling, "%s imports a sibling", file)
			}
		}
	}
	require.NotZero(t, checked)
}

// rules are the depguard rules of .golangci.yml, and where they think that they are.
type rules struct {
	settings depguard.LinterSettings
	analyzer *analysis.Analyzer
	dir      string
}

// load reads the rules as golangci-lint does (pkg/golinters/depguard there).
func load(t *testing.T) rules {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, ".golangci.yml"))
	require.NoError(t, err)
	type rule struct {
		ListMode string   `yaml:"list-mode"`
		Files    []string `yaml:"files"`
		Allow    []string `yaml:"allow"`
		Deny     []struct{ Pkg, Desc string }
	}
	var config struct {
		Linters struct {
			Enable   []string
			Settings struct {
				Depguard struct{ Rules map[string]rule }
			}
		}
	}
	require.NoError(t, yaml.Unmarshal(text, &config))
	require.Contains(t, config.Linters.Enable, "depguard")

	r := rules{settings: depguard.LinterSettings{}, dir: t.TempDir()}
	for name, rule := range config.Linters.Settings.Depguard.Rules {
		require.Equal(t, "lax", rule.ListMode, name)
		list := &depguard.List{ListMode: rule.ListMode, Allow: rule.Allow, Deny: map[string]string{}}
		for _, file := range rule.Files {
			list.Files = append(list.Files, strings.ReplaceAll(file, "${config-path}", filepath.ToSlash(r.dir)))
		}
		for _, deny := range rule.Deny {
			require.NotEmpty(t, deny.Desc, "%s: say why %s is denied", name, deny.Pkg)
			list.Deny[deny.Pkg] = deny.Desc
		}
		requireReachable(t, name, slices.Collect(maps.Keys(list.Deny)))
		requireReachable(t, name, rule.Allow)
		r.settings[name] = list
	}
	require.NotEmpty(t, r.settings)
	r.analyzer, err = depguard.NewAnalyzer(&r.settings)
	require.NoError(t, err)
	return r
}

// requireReachable refuses a package and its subpackage in one list: depguard looks at the last entry that sorts before
// an import path only, so that with "a/b" and "a/b/c" in a list, nothing matches "a/b/d".
func requireReachable(t *testing.T, rule string, list []string) {
	t.Helper()
	for _, outer := range list {
		for _, inner := range list {
			require.False(t, outer != inner && strings.HasPrefix(inner, outer), "%s: %s hides a part of %s", rule, inner, outer)
		}
	}
}

func (r rules) check(t *testing.T, file, source string) []string {
	t.Helper()
	set := token.NewFileSet()
	parsed, err := parser.ParseFile(set, filepath.Join(r.dir, file), source, parser.ImportsOnly)
	require.NoError(t, err)
	var objections []string
	_, err = r.analyzer.Run(&analysis.Pass{
		Analyzer: r.analyzer,
		Fset:     set,
		Files:    []*ast.File{parsed},
		Report:   func(d analysis.Diagnostic) { objections = append(objections, d.Message) },
	})
	require.NoError(t, err)
	return objections
}

// goFiles lists the module's Go files, as slash paths below its root.
func goFiles(t *testing.T) []string {
	t.Helper()
	leaveOut := regexp.MustCompile(`^(\..+|_.*|testdata|tools|bin|tmp)$`) // tools is a module of its own
	var files []string
	require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() && path != root && leaveOut.MatchString(name) {
			return filepath.SkipDir
		}
		if !entry.IsDir() && strings.HasSuffix(name, ".go") {
			relative, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			files = append(files, filepath.ToSlash(relative))
		}
		return nil
	}))
	return files
}
