package worker

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

const someEstate = `estate: shop
sites: {east: {}, west: {}}
systems:
  orders:
    kind: postgresql
    postgresql: {user: postgres, password: env:A, replication_user: replicator, replication_password: env:B}
    members: {east: {address: "127.0.0.1:1"}, west: {address: "127.0.0.1:2"}}
gateways:
  main:
    key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA6cCLsMYGyGDi6M2bTudxVhywROH5CL8STRvEnx8nwF main
    url: http://127.0.0.1:8080
    serve: {listen: "127.0.0.1:8080", sign_with: /etc/muster/gateway}
`

func TestEstatesAreReadAnewWhenTheyChange(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "shop.estate.yaml")
	write := func(text string) { require.NoError(t, os.WriteFile(file, []byte(text), 0o600)) }
	write(someEstate)
	e := &estates{dir: dir}
	server, url, err := e.server("main")
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:8080", server.Listen)
	require.Equal(t, "http://127.0.0.1:8080", url)
	estate, err := e.named("shop")
	require.NoError(t, err)
	require.Empty(t, estate.People)
	_, _, err = e.server("other")
	require.ErrorContains(t, err, "add gateways.other.serve to one")

	write(someEstate + "people: {kim: {roles: [approver]}}\n")
	estate, err = e.named("shop")
	require.NoError(t, err)
	require.Contains(t, estate.People, "kim")

	write(someEstate + "people: {kim: {roles: [chief]}}\n")
	_, err = e.named("shop")
	require.ErrorContains(t, err, "muster validate")
	_, _, err = e.server("main")
	require.ErrorContains(t, err, "shop.estate.yaml:", "file and line")
}

func TestAGatewayIsServedByOneEstate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"shop", "bank"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name+".yaml"), []byte("estate: "+name+someEstate[len("estate: shop"):]), 0o600))
	}
	_, _, err := (&estates{dir: dir}).server("main")
	require.ErrorContains(t, err, "is to be served by [bank shop]")
}
