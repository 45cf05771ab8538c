package runbooks

// Gateway is a gateway whose word the estate takes for who somebody is (Slack's click, a login). It signs with its key.
type Gateway struct {
	Key   string         `yaml:"key" json:"key"`                     // SSH public key, authorized_keys format
	URL   string         `yaml:"url,omitempty" json:"url,omitempty"` // where people reach its pages
	Serve *GatewayServer `yaml:"serve,omitempty" json:"serve,omitempty"`
}

// GatewayServer is how a worker that is started with --gateway serves it.
type GatewayServer struct {
	Listen         string            `yaml:"listen" json:"listen"`                                       // host:port; another host than loopback needs a certificate
	Certificate    string            `yaml:"certificate,omitempty" json:"certificate,omitempty"`         // file, PEM
	CertificateKey string            `yaml:"certificate_key,omitempty" json:"certificate_key,omitempty"` // file, PEM
	SignWith       string            `yaml:"sign_with" json:"sign_with"`                                 // file of the SSH private key
	OIDC           *GatewayOIDC      `yaml:"oidc,omitempty" json:"oidc,omitempty"`
	Slack          *GatewaySlack     `yaml:"slack,omitempty" json:"slack,omitempty"`
	PagerDuty      *GatewayPagerDuty `yaml:"pagerduty,omitempty" json:"pagerduty,omitempty"`
}

// GatewayOIDC is who signs people in (OpenID Connect Core 1.0, authorization code flow).
type GatewayOIDC struct {
	Issuer       string `yaml:"issuer" json:"issuer"` // URL
	ClientID     string `yaml:"client_id" json:"client_id"`
	ClientSecret Secret `yaml:"client_secret" json:"client_secret"`
}

// GatewaySlack is how clicks come in: by HTTP (signing_secret), by Socket Mode (app_token), or both.
type GatewaySlack struct {
	Token         Secret   `yaml:"token" json:"token"` // bot token
	SigningSecret Secret   `yaml:"signing_secret,omitempty" json:"signing_secret,omitempty"`
	AppToken      Secret   `yaml:"app_token,omitempty" json:"app_token,omitempty"`
	Teams         []string `yaml:"teams" json:"teams"`                 // workspaces whose clicks count
	API           string   `yaml:"api,omitempty" json:"api,omitempty"` // URL of the Web API; default Slack's own
}

// GatewayPagerDuty starts runbooks for incidents, by webhook (v3).
type GatewayPagerDuty struct {
	Secret   Secret            `yaml:"secret" json:"secret"`     // of the webhook subscription
	Services map[string]string `yaml:"services" json:"services"` // PagerDuty service ID -> runbook, which waits at its gate
}
