package run

import (
	"cmp"
	"fmt"
	"slices"

	"golang.org/x/crypto/ssh"

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

// identify proves who sent a payload. It returns "signed:<fingerprint>", or "claimed" where the runbook accepts a bare payload.
// role is what a person needs at least; admins have every role.
func (r *Run) identify(name, signature, nonce string, text []byte, trust, role string) (string, error) {
	if name == "" {
		return "", fmt.Errorf("who sends this? the payload names nobody")
	}
	person, known := r.Document.Estate.People[name]
	if known && !slices.Contains(person.Roles, role) && !slices.Contains(person.Roles, "admin") {
		return "", fmt.Errorf("%s has the roles %v in estate %s, and this needs %s", name, person.Roles, r.header.Estate, role)
	}
	if signature == "" {
		if trust == trustUnsigned {
			return identityClaimed, nil
		}
		return "", fmt.Errorf("the payload is not signed, and runbook %s wants a signature (next: muster signs with your SSH key, see --key)", r.header.Runbook)
	}
	if !known {
		return "", fmt.Errorf("estate %s lists nobody called %q", r.header.Estate, name)
	}
	if nonce == "" || r.nonces[nonce] {
		return "", fmt.Errorf("the payload's nonce is missing or was used before: a signed payload counts once")
	}
	keys := make([]ssh.PublicKey, 0, len(person.Keys))
	for _, line := range person.Keys {
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil {
			return "", fmt.Errorf("read a key of %s: %w", name, err)
		}
		keys = append(keys, key)
	}
	fingerprint, err := sshsig.Verify(signature, SignatureNamespace, text, keys)
	if err != nil {
		return "", fmt.Errorf("the signature is not one of %s: %w", name, err)
	}
	return "signed:" + fingerprint, nil
}

func (r *Run) spend(nonce string) {
	if nonce != "" {
		r.nonces[nonce] = true
	}
}
