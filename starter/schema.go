package starter

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/runbooks"
)

var schemaKinds = []string{"estate", "runbook"}

func newSchema(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "schema estate|runbook",
		Short: "Print the JSON Schema of estate or runbook files, for editors",
		Long: `Print the JSON Schema of estate or runbook files.

Editors with the YAML language server read it from a file that the first line names:

    # yaml-language-server: $schema=runbook.schema.json`,
		Args:      args(cobra.ExactArgs(1)),
		ValidArgs: schemaKinds,
		RunE: func(_ *cobra.Command, given []string) error {
			if !slices.Contains(schemaKinds, given[0]) {
				return usagef("there is no schema of %q: it is one of %s", given[0], strings.Join(schemaKinds, ", "))
			}
			text, err := runbooks.Schema(given[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.out, strings.TrimSpace(string(text)))
			return err
		},
	}
}
