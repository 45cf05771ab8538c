package runbooks

func (d *document) checkNotices(e *Estate) {
	for _, name := range sorted(e.Notifiers) {
		d.checkNotifier(join("notifiers", name), e.Notifiers[name])
	}
	for i, rule := range e.Notices {
		at := join(item("notices", i), "to")
		d.notEmpty(at, len(rule.To), "name of a notifier")
		for j, name := range rule.To {
			if _, known := e.Notifiers[name]; !known {
				d.unknown(item(at, j), "notifier", name, sorted(e.Notifiers))
			}
		}
	}
}

func (d *document) checkNotifier(path string, n Notifier) {
	if d.block(path, "slack", n.Kind == "slack", n.Slack == nil, "kind") && n.Slack != nil {
		at := join(path, "slack")
		if key := join(at, "channel"); d.has(key) && !slackChannel.MatchString(n.Slack.Channel) {
			d.problem(key, "copy the channel's ID, at the end of its details in Slack", "%s is not the ID of a Slack channel; expected one such as C0123ABCD", shown(n.Slack.Channel))
		}
		d.check(join(at, "api"), validURL, n.Slack.API)
	}
	if d.block(path, "pagerduty", n.Kind == "pagerduty", n.PagerDuty == nil, "kind") && n.PagerDuty != nil {
		at := join(path, "pagerduty")
		if n.PagerDuty.Token != "" && n.PagerDuty.From == "" {
			d.problem(join(at, "from"), "add the e-mail address of a PagerDuty user", "missing key %q; token needs it: notes are written by somebody", "from")
		}
		d.check(join(at, "from"), validEmail, n.PagerDuty.From)
		d.check(join(at, "events"), validURL, n.PagerDuty.Events)
		d.check(join(at, "api"), validURL, n.PagerDuty.API)
	}
	if d.block(path, "email", n.Kind == "email", n.Email == nil, "kind") && n.Email != nil {
		at := join(path, "email")
		d.check(join(at, "server"), validAddress, n.Email.Server)
		d.check(join(at, "from"), validEmail, n.Email.From)
		d.notEmpty(join(at, "to"), len(n.Email.To), "address")
		for i, to := range n.Email.To {
			d.check(item(join(at, "to"), i), validEmail, to)
		}
		if n.Email.Password != "" && n.Email.User == "" {
			d.problem(join(at, "user"), "add it", "missing key %q; password needs it", "user")
		}
		d.checkPath(join(at, "ca"), n.Email.CA)
	}
	if d.block(path, "webhook", n.Kind == "webhook", n.Webhook == nil, "kind") && n.Webhook != nil {
		d.check(join(join(path, "webhook"), "url"), validURL, n.Webhook.URL)
	}
}
