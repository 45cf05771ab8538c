package runbooks

import (
	"slices"
	"strings"
)

// Severity says how much a notice matters; the estate's notices route by it.
type Severity string

// Severities, the worst first.
const (
	Critical Severity = "critical" // somebody must act now
	Warning  Severity = "warning"  // somebody should look
	Info     Severity = "info"
)

// Notifier is one channel to people, as the estate's file says it. The block of its kind is set.
type Notifier struct {
	Kind      string             `yaml:"kind" json:"kind" jsonschema:"enum=slack,enum=pagerduty,enum=email,enum=webhook"`
	Slack     *SlackNotifier     `yaml:"slack,omitempty" json:"slack,omitempty"`
	PagerDuty *PagerDutyNotifier `yaml:"pagerduty,omitempty" json:"pagerduty,omitempty"`
	Email     *EmailNotifier     `yaml:"email,omitempty" json:"email,omitempty"`
	Webhook   *WebhookNotifier   `yaml:"webhook,omitempty" json:"webhook,omitempty"`
}

// SlackNotifier posts into one channel of a workspace.
type SlackNotifier struct {
	Token   Secret `yaml:"token" json:"token"`                 // bot token, by reference; scopes: chat:write, channels:history or groups:history
	Channel string `yaml:"channel" json:"channel"`             // channel ID: C0123ABCD
	API     string `yaml:"api,omitempty" json:"api,omitempty"` // URL of the Web API; default Slack's own
}

// PagerDutyNotifier sends events to a service's integration (Events API v2), and notes to its incidents where a token is given.
type PagerDutyNotifier struct {
	RoutingKey Secret `yaml:"routing_key" json:"routing_key"`           // of the integration, by reference
	Token      Secret `yaml:"token,omitempty" json:"token,omitempty"`   // REST API key, for notes on the incident
	From       string `yaml:"from,omitempty" json:"from,omitempty"`     // with token: e-mail address of a PagerDuty user, who writes the notes
	Events     string `yaml:"events,omitempty" json:"events,omitempty"` // URL of the Events API; default PagerDuty's own
	API        string `yaml:"api,omitempty" json:"api,omitempty"`       // URL of the REST API; default PagerDuty's own
}

// EmailNotifier sends through one SMTP server.
type EmailNotifier struct {
	Server   string   `yaml:"server" json:"server"` // host:port
	From     string   `yaml:"from" json:"from"`
	To       []string `yaml:"to" json:"to"`
	User     string   `yaml:"user,omitempty" json:"user,omitempty"`
	Password Secret   `yaml:"password,omitempty" json:"password,omitempty"`                                          // by reference
	TLS      string   `yaml:"tls,omitempty" json:"tls,omitempty" jsonschema:"enum=starttls,enum=implicit,enum=none"` // default starttls, enforced
	CA       string   `yaml:"ca,omitempty" json:"ca,omitempty"`                                                      // file of certificates to trust; default the system's
}

// WebhookNotifier posts JSON, signed with HMAC-SHA256.
type WebhookNotifier struct {
	URL string `yaml:"url" json:"url"`
	Key Secret `yaml:"key" json:"key"` // of the signature, by reference
}

// NoticeRule sends notices to notifiers. A notice goes to every notifier that a rule names for it, once.
type NoticeRule struct {
	Severities []Severity `yaml:"severities,omitempty" json:"severities,omitempty" jsonschema:"enum=critical,enum=warning,enum=info"` // none: all
	Events     []string   `yaml:"events,omitempty" json:"events,omitempty" jsonschema:"enum=gate-opened,enum=gate-reminded,enum=gate-decided,enum=gate-closed,enum=gate-expired,enum=gate-escalated,enum=held,enum=released,enum=progress,enum=finished"`
	To         []string   `yaml:"to" json:"to"` // names of notifiers
}

// GoesBy says whether a channel's own name for somebody is p's: "slack:T0123ABCD/U0456EFGH", "oidc:<issuer>#<subject>",
// "email:<address>" (in any case of letters).
func (p Person) GoesBy(name string) bool {
	channel, who, _ := strings.Cut(name, ":")
	switch channel {
	case "slack":
		return p.Slack != "" && who == p.Slack
	case "oidc":
		return p.OIDC != "" && who == p.OIDC
	case "email":
		return p.Email != "" && strings.EqualFold(who, p.Email)
	}
	return false
}

// NotifiersFor lists, in the order of the rules, the notifiers that are told of an event of some severity.
func (e Estate) NotifiersFor(event string, severity Severity) []string {
	var names []string
	for _, rule := range e.Notices {
		wanted := slices.Contains(rule.Events, event) || len(rule.Events) == 0 && event != "progress"
		if !wanted || len(rule.Severities) > 0 && !slices.Contains(rule.Severities, severity) {
			continue
		}
		for _, name := range rule.To {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}
