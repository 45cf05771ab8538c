package run

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/musterhq/muster/internal/sshsig"
	"github.com/musterhq/muster/runbooks"
)

// What the estate's people may be trusted with, and what a decision was proven by.
const (
	trustUnsigned   = "unsigned"
	trustSigned     = "signed"
	identityClaimed = "claimed"

	// SignatureNamespace is what operators sign under: ssh-keygen -Y sign -n muster.
	SignatureNamespace = "muster"
)

func (r *Run) trustOf(g runbooks.Gate) string {
	return cmp.Or(cmp.Or(g.Trust, r.Document.Runbook.Trust), trustSigned)
}

// sender is who says that a payload is theirs, and what proves it.
type sender struct {
	name, signature, nonce string
	gateway, vouched       string
	text                   []byte // what the signature covers
}

func (r *Run) senderOfDecision(d Decision) sender {
	return sender{d.Approver, d.Signature, d.Nonce, d.Gateway, d.Vouched, d.SigningText(r.header.WorkflowID, r.header.RunID)}
}

func (r *Run) senderOfIntervention(v Intervention) sender {
	return sender{v.Author, v.Signature, v.Nonce, v.Gateway, v.Vouched, v.SigningText(r.header.WorkflowID, r.header.RunID)}
}

// identify proves who sent a payload. It returns "signed:<fingerprint>", "vouched:<whom> by <gateway>", or "claimed" where the
// runbook accepts a bare payload.
func (r *Run) identify(s sender, trust string, may Permission) (string, error) {
	if s.name == "" {
		return "", fmt.Errorf("who sends this? the payload names nobody")
	}
	person, known := r.Document.Estate.People[s.name]
	if known && !may.To(person.Roles) {
		return "", fmt.Errorf("%s has the roles %v in estate %s, and this needs %s", s.name, person.Roles, r.header.Estate, strings.Join(Permissions[may], " or "))
	}
	if s.signature == "" {
		if trust == trustUnsigned && s.gateway == "" {
			return identityClaimed, nil
		}
		return "", fmt.Errorf("the payload is not signed, and runbook %s wants a signature (next: muster signs with your SSH key, see --key)", r.header.Runbook)
	}
	if !known {
		return "", fmt.Errorf("estate %s lists nobody called %q", r.header.Estate, s.name)
	}
	if s.nonce == "" || r.nonces[s.nonce] {
		return "", fmt.Errorf("the payload's nonce is missing or was used before: a signed payload counts once")
	}
	if s.gateway != "" || s.vouched != "" {
		return r.vouchedFor(s, person)
	}
	fingerprint, err := verify(s, person.Keys)
	if err != nil {
		return "", fmt.Errorf("the signature is not one of %s: %w", s.name, err)
	}
	return "signed:" + fingerprint, nil
}

// vouchedFor takes a gateway's word for who somebody is, where the estate lists the gateway and the person goes by that name.
func (r *Run) vouchedFor(s sender, person runbooks.Person) (string, error) {
	gateway, known := r.Document.Estate.Gateways[s.gateway]
	if !known {
		return "", fmt.Errorf("estate %s lists no gateway called %q", r.header.Estate, s.gateway)
	}
	if _, err := verify(s, []string{gateway.Key}); err != nil {
		return "", fmt.Errorf("the signature is not one of gateway %s: %w", s.gateway, err)
	}
	if !person.GoesBy(s.vouched) {
		return "", fmt.Errorf("gateway %s vouches for %s, which is not what estate %s says of %s", s.gateway, s.vouched, r.header.Estate, s.name)
	}
	return fmt.Sprintf("vouched:%s by %s", s.vouched, s.gateway), nil
}

func verify(s sender, lines []string) (string, error) {
	keys, err := sshsig.ParseKeys(lines)
	if err != nil {
		return "", err
	}
	return sshsig.Verify(s.signature, SignatureNamespace, s.text, keys)
}

func (r *Run) spend(nonce string) {
	if nonce != "" {
		r.nonces[nonce] = true
	}
}
