package sandbox

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/runbooks"
)

func TestTheFilesAreWhatTheLoaderWants(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Options{
		"default":     {},
		"two systems": {Systems: []string{"orders", "billing-two"}, ConfigOutside: true, RuntimeTCP: true},
		"ssh":         {SSH: true},
		"no route":    {NoRoute: true},
		"with redis":  {Redis: runbooks.RedisReplication},
		"signed": {Trust: "signed", People: map[string]runbooks.Person{"dana": {Roles: []string{"operator", "approver"},
			Keys: []string{"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ+5Y2Tn3GyCWMfXM5cqAGB3HTZOYFQAMJ3Wd3f0nd0r dana"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, o.complete())
			own, err := findOwner(t.Context())
			require.NoError(t, err)
			dir := folder(t)
			require.NoError(t, own.mkdir(dir, 0o755))
			s := &Sandbox{state: state{Dir: dir, Owner: own, BinDirectory: o.BinDirectory, Systems: o.Systems, Redis: o.Redis, RedisBin: o.RedisBin, SSH: o.SSH, NoRoute: o.NoRoute,
				RuntimeTCP: o.RuntimeTCP, ConfigOutside: o.ConfigOutside, People: o.People, Trust: o.Trust}}
			require.NoError(t, s.choosePorts())
			require.NoError(t, s.writeFiles())
			loaded, err := runbooks.Load(s.Runbooks())
			require.NoError(t, err)
			require.Equal(t, []runbooks.Estate{s.Estate()}, loaded.Estates())
			want := s.runbookSet()
			require.Len(t, loaded.Runbooks(), len(want))
			for _, r := range loaded.Runbooks() {
				require.Equal(t, want[r.Name], r)
			}
			require.Contains(t, want, "failover-shop-unplanned")
		})
	}
}
