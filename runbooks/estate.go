// Package runbooks holds the estate and runbook files: their types, their loader and their checks.
package runbooks

// Estate is everything one team operates, as its YAML file says it.
// Secrets are never in it, only references to them (see Secret).
type Estate struct {
	Name       string              `yaml:"estate" json:"estate"`
	Sites      map[string]Site     `yaml:"sites" json:"sites"`
	Hosts      map[string]Host     `yaml:"hosts,omitempty" json:"hosts,omitempty"`
	Systems    map[string]System   `yaml:"systems" json:"systems"`
	Routes     map[string]Route    `yaml:"routes,omitempty" json:"routes,omitempty"`
	People     map[string]Person   `yaml:"people,omitempty" json:"people,omitempty"`
	Gateways   map[string]Gateway  `yaml:"gateways,omitempty" json:"gateways,omitempty"`
	Notifiers  map[string]Notifier `yaml:"notifiers,omitempty" json:"notifiers,omitempty"`
	Notices    []NoticeRule        `yaml:"notices,omitempty" json:"notices,omitempty"`
	Objectives Objectives          `yaml:"objectives,omitempty" json:"objectives,omitzero"`
}

// Site is a place that can carry the estate: a region, a data centre, a cluster.
type Site struct {
	Description string `yaml:"description,omitempty" json:"description,omitempty"`
}

// Host says how the machine of a member is reached to run commands on it.
type Host struct {
	Kind       string   `yaml:"kind" json:"kind" jsonschema:"enum=local,enum=ssh"`
	Address    string   `yaml:"address,omitempty" json:"address,omitempty"`         // ssh: host:port
	User       string   `yaml:"user,omitempty" json:"user,omitempty"`               // ssh: login user
	Key        Secret   `yaml:"key,omitempty" json:"key,omitempty"`                 // ssh: private key, by reference
	KnownHosts string   `yaml:"known_hosts,omitempty" json:"known_hosts,omitempty"` // ssh: file, enforced
	RunAs      string   `yaml:"run_as,omitempty" json:"run_as,omitempty"`           // run commands as this user (local: setuid when root; ssh: sudo -n -u)
	Timeout    Duration `yaml:"timeout,omitempty" json:"timeout,omitzero"`          // to connect; default 5s
}

// System is one thing with a member at each site.
type System struct {
	Kind       string            `yaml:"kind" json:"kind" jsonschema:"enum=postgresql,enum=redis"`
	Route      string            `yaml:"route,omitempty" json:"route,omitempty"`
	PostgreSQL *PostgreSQL       `yaml:"postgresql,omitempty" json:"postgresql,omitempty"`
	Redis      *Redis            `yaml:"redis,omitempty" json:"redis,omitempty"`
	Members    map[string]Member `yaml:"members" json:"members"` // by site
	Objectives Objectives        `yaml:"objectives,omitempty" json:"objectives,omitzero"`
}

// FindsPrimary says whether clients of the system find its primary without a route: its Sentinels or its Cluster tell them.
func (s System) FindsPrimary() bool { return s.Redis != nil && s.Redis.Shape != RedisReplication }

// Member is a system at one site.
type Member struct {
	Address    string            `yaml:"address" json:"address"` // host:port as the worker reaches it
	Host       string            `yaml:"host,omitempty" json:"host,omitempty"`
	PostgreSQL *PostgreSQLMember `yaml:"postgresql,omitempty" json:"postgresql,omitempty"`
	Redis      *RedisMember      `yaml:"redis,omitempty" json:"redis,omitempty"`
}

// PostgreSQL is what all members of a PostgreSQL system share.
type PostgreSQL struct {
	User                string `yaml:"user" json:"user"`         // superuser, or pg_monitor with the rights the driver page lists
	Password            Secret `yaml:"password" json:"password"` // by reference
	Database            string `yaml:"database,omitempty" json:"database,omitempty"`
	SSLMode             string `yaml:"sslmode,omitempty" json:"sslmode,omitempty" jsonschema:"enum=disable,enum=allow,enum=prefer,enum=require,enum=verify-ca,enum=verify-full"`
	ReplicationUser     string `yaml:"replication_user" json:"replication_user"`
	ReplicationPassword Secret `yaml:"replication_password" json:"replication_password"`
}

// PostgreSQLMember is what one PostgreSQL server has of its own.
type PostgreSQLMember struct {
	DataDirectory string `yaml:"data_directory" json:"data_directory"`
	BinDirectory  string `yaml:"bin_directory" json:"bin_directory"`
	ConfigFile    string `yaml:"config_file,omitempty" json:"config_file,omitempty"` // where it is not in the data directory
	Slot          string `yaml:"slot,omitempty" json:"slot,omitempty"`               // the physical slot this member uses when it is a standby
	// PrimaryAddress is host:port as the other member's walreceiver reaches this server; default Address.
	PrimaryAddress string `yaml:"primary_address,omitempty" json:"primary_address,omitempty"`
}

// Redis is what all members of a Redis or Valkey system share.
type Redis struct {
	Shape            string   `yaml:"shape" json:"shape" jsonschema:"enum=replication,enum=sentinel,enum=cluster"`
	User             string   `yaml:"user,omitempty" json:"user,omitempty"`           // default: the server's user "default"
	Password         Secret   `yaml:"password,omitempty" json:"password,omitempty"`   // by reference; none where the server wants none
	Sentinels        []string `yaml:"sentinels,omitempty" json:"sentinels,omitempty"` // shape sentinel: host:port of each
	MasterName       string   `yaml:"master_name,omitempty" json:"master_name,omitempty"`
	SentinelUser     string   `yaml:"sentinel_user,omitempty" json:"sentinel_user,omitempty"`
	SentinelPassword Secret   `yaml:"sentinel_password,omitempty" json:"sentinel_password,omitempty"`
}

// The shapes of a Redis system: who is in charge of its roles.
const (
	RedisReplication = "replication" // nobody but muster
	RedisSentinel    = "sentinel"
	RedisCluster     = "cluster"
)

// RedisMember is what a Redis member has of its own. Config and Start are of a member with one server; a member
// of a cluster has Nodes instead, and each node its own.
type RedisMember struct {
	ConfigFile string `yaml:"config_file,omitempty" json:"config_file,omitempty"` // on the host; writable there
	// Start is the command that starts the server on its host; it may stay in the foreground.
	Start []string `yaml:"start,omitempty" json:"start,omitempty"`
	// ReplicationAddress is host:port as the other servers reach this one; default Address.
	ReplicationAddress string      `yaml:"replication_address,omitempty" json:"replication_address,omitempty"`
	Nodes              []RedisNode `yaml:"nodes,omitempty" json:"nodes,omitempty"`
}

// RedisNode is one server of a cluster's site.
type RedisNode struct {
	Address    string   `yaml:"address" json:"address"`
	Host       string   `yaml:"host,omitempty" json:"host,omitempty"` // default: the member's
	ConfigFile string   `yaml:"config_file,omitempty" json:"config_file,omitempty"`
	Start      []string `yaml:"start,omitempty" json:"start,omitempty"`
}

// Route is what sends clients to a site.
type Route struct {
	Kind    string        `yaml:"kind" json:"kind" jsonschema:"enum=haproxy"`
	Address string        `yaml:"address" json:"address"` // host:port where clients connect
	HAProxy *HAProxyRoute `yaml:"haproxy,omitempty" json:"haproxy,omitempty"`
}

// HAProxyRoute names a backend and its server of each site, reached by the runtime API
// (HAProxy Management Guide, section 9.3).
type HAProxyRoute struct {
	Runtime []string          `yaml:"runtime" json:"runtime"` // unix:/path or tcp:host:port, one per proxy process
	Backend string            `yaml:"backend" json:"backend"`
	Servers map[string]string `yaml:"servers" json:"servers"` // site -> server name
}

// Person is somebody who may start, approve or intervene.
type Person struct {
	Name  string   `yaml:"name,omitempty" json:"name,omitempty"`
	Roles []string `yaml:"roles" json:"roles" jsonschema:"enum=viewer,enum=operator,enum=approver,enum=admin"`
	Keys  []string `yaml:"keys,omitempty" json:"keys,omitempty"` // SSH public keys, authorized_keys format
	Email string   `yaml:"email,omitempty" json:"email,omitempty"`
	Slack string   `yaml:"slack,omitempty" json:"slack,omitempty"` // team and user: T0123ABCD/U0456EFGH
	OIDC  string   `yaml:"oidc,omitempty" json:"oidc,omitempty"`   // issuer and subject: https://login.example.org#1234; else the verified e-mail address counts
}

// Objectives are what a run is measured against. A zero pointer means: nothing was promised.
type Objectives struct {
	RTO         *Duration `yaml:"rto,omitempty" json:"rto,omitempty"`                                            // longest outage as clients see it
	LostWrites  *int64    `yaml:"lost_writes,omitempty" json:"lost_writes,omitempty" jsonschema:"minimum=0"`     // acknowledged writes that may be missing
	MaxLagBytes *int64    `yaml:"max_lag_bytes,omitempty" json:"max_lag_bytes,omitempty" jsonschema:"minimum=0"` // replication lag above which preflight refuses
	MaxLag      *Duration `yaml:"max_lag,omitempty" json:"max_lag,omitempty"`
}

// Or returns o with every objective that it does not set taken from fallback.
func (o Objectives) Or(fallback Objectives) Objectives {
	if o.RTO == nil {
		o.RTO = fallback.RTO
	}
	if o.LostWrites == nil {
		o.LostWrites = fallback.LostWrites
	}
	if o.MaxLagBytes == nil {
		o.MaxLagBytes = fallback.MaxLagBytes
	}
	if o.MaxLag == nil {
		o.MaxLag = fallback.MaxLag
	}
	return o
}
