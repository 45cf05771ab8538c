package runbooks_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/runbooks"
)

func TestExamplesLoad(t *testing.T) {
	t.Parallel()
	folder, err := runbooks.Load(".")
	require.NoError(t, err)
	require.Len(t, folder.Estates(), 1)
	var names []string
	for _, r := range folder.Runbooks() {
		names = append(names, r.Name)
		_, err := folder.Resolve(r.Name, runbooks.Overrides{})
		require.NoError(t, err, r.Name)
	}
	require.Equal(t, []string{"failback-shop", "failover-shop", "failover-shop-observe", "failover-shop-unplanned", "watch-shop"}, names)
}
