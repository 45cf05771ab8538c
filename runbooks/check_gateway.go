package runbooks

import "net"

func (d *document) checkGateways(e *Estate) {
	for _, name := range sorted(e.Gateways) {
		g, path := e.Gateways[name], join("gateways", name)
		if at := join(path, "key"); d.has(at) {
			if _, err := fingerprint(g.Key); err != nil {
				d.problem(at, "", "%s", err)
			}
		}
		d.check(join(path, "url"), validURL, g.URL)
		if g.Serve != nil {
			d.checkServer(join(path, "serve"), g)
		}
	}
}

func (d *document) checkServer(path string, g Gateway) {
	s := g.Serve
	d.check(join(path, "listen"), validAddress, s.Listen)
	d.checkPath(join(path, "sign_with"), s.SignWith)
	d.checkPath(join(path, "certificate"), s.Certificate)
	d.checkPath(join(path, "certificate_key"), s.CertificateKey)
	if (s.Certificate == "") != (s.CertificateKey == "") {
		d.problem(join(path, "certificate"), "give both", "certificate and certificate_key go together")
	}
	if at := join(path, "listen"); d.has(at) && s.Certificate == "" && validAddress(s.Listen) == nil && !loopback(s.Listen) {
		d.problem(at, "give certificate and certificate_key, or listen on 127.0.0.1 behind a proxy that has them", "decisions do not travel in the clear; expected a loopback address where there is no certificate")
	}
	if s.OIDC != nil {
		d.check(join(path, "oidc.issuer"), validURL, s.OIDC.Issuer)
		if g.URL == "" {
			d.problem(path, "add url to the gateway: the issuer sends people back there", "missing key %q; oidc needs it", "url")
		}
	}
	if s.Slack != nil {
		at := join(path, "slack")
		if s.Slack.SigningSecret == "" && s.Slack.AppToken == "" {
			d.problem(at, "add signing_secret for HTTP, app_token for Socket Mode, or both", "clicks can come in by neither way")
		}
		d.notEmpty(join(at, "teams"), len(s.Slack.Teams), "ID of a workspace, such as T0123ABCD")
		d.check(join(at, "api"), validURL, s.Slack.API)
	}
	if s.PagerDuty != nil {
		d.notEmpty(join(path, "pagerduty.services"), len(s.PagerDuty.Services), "service and its runbook")
	}
}

func loopback(address string) bool {
	host, _, _ := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
