// Package sshsig makes and checks signatures in OpenSSH's format, as `ssh-keygen -Y sign` writes them
// (PROTOCOL.sshsig in OpenSSH's sources). Verify is a pure function: workflows may call it.
package sshsig

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"

	"golang.org/x/crypto/ssh"
)

// Namespace is muster's signature namespace: what `ssh-keygen -Y sign -n` is given.
const Namespace = "muster"

const (
	magic      = "SSHSIG"
	version    = 1
	hashSHA512 = "sha512"
	hashSHA256 = "sha256"
	minRSABits = 2048
)

// blob is the signature's wire form, after the magic preamble.
type blob struct {
	Version   uint32
	PublicKey []byte
	Namespace string
	Reserved  string
	Hash      string
	Signature []byte
}

// Sign signs message with SHA-512 in a namespace. RSA signers must be able to sign with rsa-sha2-512, as files' and agents' can.
func Sign(signer ssh.Signer, namespace string, message []byte) (string, error) {
	if namespace == "" {
		return "", errors.New("sign: the namespace is empty")
	}
	key := signer.PublicKey()
	if err := CheckKey(key); err != nil {
		return "", fmt.Errorf("sign with %s: %w", ssh.FingerprintSHA256(key), err)
	}
	signed, err := signedData(namespace, "", hashSHA512, message)
	if err != nil {
		return "", err
	}
	var sig *ssh.Signature
	if key.Type() == ssh.KeyAlgoRSA {
		// An RSA signer signs with SHA-1 unless told otherwise.
		chooser, ok := signer.(ssh.AlgorithmSigner)
		if !ok {
			return "", fmt.Errorf("sign with %s: this RSA signer cannot sign with %s", ssh.FingerprintSHA256(key), ssh.KeyAlgoRSASHA512)
		}
		sig, err = chooser.SignWithAlgorithm(rand.Reader, signed, ssh.KeyAlgoRSASHA512)
	} else {
		sig, err = signer.Sign(rand.Reader, signed)
	}
	if err != nil {
		return "", fmt.Errorf("sign with %s: %w", ssh.FingerprintSHA256(key), err)
	}
	return armor(append([]byte(magic), ssh.Marshal(blob{
		Version: version, PublicKey: key.Marshal(), Namespace: namespace, Hash: hashSHA512, Signature: ssh.Marshal(*sig),
	})...)), nil
}

// Verify checks an armored signature of message and returns the fingerprint (SHA256:...) of the allowed key that made it.
// It accepts Ed25519, ECDSA, RSA with SHA-2 of 2048 bits or more, and their security-key forms, which must attest a touch.
func Verify(armored, namespace string, message []byte, allowed []ssh.PublicKey) (string, error) {
	raw, err := dearmor(armored)
	if err != nil {
		return "", err
	}
	rest, ok := bytes.CutPrefix(raw, []byte(magic))
	if !ok {
		return "", errors.New("not an SSH signature: it does not begin with " + magic)
	}
	var b blob
	if err := ssh.Unmarshal(rest, &b); err != nil {
		return "", fmt.Errorf("SSH signature is malformed: %w", err)
	}
	if b.Version != version {
		return "", fmt.Errorf("SSH signature is of version %d, known is %d", b.Version, version)
	}
	if namespace == "" || b.Namespace != namespace {
		return "", fmt.Errorf("signature is for namespace %q, not %q (sign with: ssh-keygen -Y sign -n %s)", b.Namespace, namespace, namespace)
	}
	key, err := find(b.PublicKey, allowed)
	if err != nil {
		return "", err
	}
	fingerprint := ssh.FingerprintSHA256(key)
	if err := CheckKey(key); err != nil {
		return "", fmt.Errorf("signature by %s: %w", fingerprint, err)
	}
	var sig ssh.Signature
	if err := ssh.Unmarshal(b.Signature, &sig); err != nil {
		return "", fmt.Errorf("signature by %s is malformed: %w", fingerprint, err)
	}
	if err := checkFormat(key, &sig); err != nil {
		return "", fmt.Errorf("signature by %s: %w", fingerprint, err)
	}
	signed, err := signedData(b.Namespace, b.Reserved, b.Hash, message)
	if err != nil {
		return "", err
	}
	if err := key.Verify(signed, &sig); err != nil {
		return "", fmt.Errorf("signature by %s is not of this text: %w", fingerprint, err)
	}
	return fingerprint, nil
}

// ParseKeys reads public keys in authorized_keys format, one each.
func ParseKeys(lines []string) ([]ssh.PublicKey, error) {
	keys := make([]ssh.PublicKey, 0, len(lines))
	for i, line := range lines {
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
		if err == nil {
			err = CheckKey(key)
		}
		if err != nil {
			return nil, fmt.Errorf("public key %d (%.40q): %w", i+1, line, err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func find(wire []byte, allowed []ssh.PublicKey) (ssh.PublicKey, error) {
	for _, key := range allowed {
		if key != nil && bytes.Equal(key.Marshal(), wire) {
			return key, nil
		}
	}
	// The key is not parsed: its fingerprint is the hash of its bytes, whatever they are.
	sum := sha256.Sum256(wire)
	return nil, fmt.Errorf("signature was made with SHA256:%s, which is none of the %d allowed keys", fingerprintText(sum[:]), len(allowed))
}

// CheckKey refuses keys that signatures are not accepted of: unknown kinds, and RSA of less than 2048 bits.
func CheckKey(key ssh.PublicKey) error {
	switch key.Type() {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256:
		return nil
	case ssh.KeyAlgoRSA:
		parsed, err := ssh.ParsePublicKey(key.Marshal()) // an agent's key is of a type that does not tell its size
		if err != nil {
			return err
		}
		crypto, ok := parsed.(ssh.CryptoPublicKey)
		if !ok {
			return errors.New("RSA key of unknown size")
		}
		if public, ok := crypto.CryptoPublicKey().(*rsa.PublicKey); !ok || public.N.BitLen() < minRSABits {
			return fmt.Errorf("RSA key is shorter than %d bits", minRSABits)
		}
		return nil
	default:
		return fmt.Errorf("key type %s is not accepted: use ed25519, ecdsa, rsa or their security-key forms", key.Type())
	}
}

// checkFormat refuses what the key type would accept and we do not: SHA-1 of RSA, and a security key that nobody touched.
func checkFormat(key ssh.PublicKey, sig *ssh.Signature) error {
	switch key.Type() {
	case ssh.KeyAlgoRSA:
		if sig.Format != ssh.KeyAlgoRSASHA256 && sig.Format != ssh.KeyAlgoRSASHA512 {
			return fmt.Errorf("signature algorithm %q is not accepted for RSA", sig.Format)
		}
	case ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256:
		const touched = 0x01
		if sig.Format != key.Type() || len(sig.Rest) != 5 || sig.Rest[0]&touched == 0 {
			return errors.New("security key does not attest that it was touched")
		}
		return nil
	default:
		if sig.Format != key.Type() {
			return fmt.Errorf("signature algorithm %q does not fit key type %s", sig.Format, key.Type())
		}
	}
	if len(sig.Rest) != 0 {
		return errors.New("signature has trailing bytes")
	}
	return nil
}

func signedData(namespace, reserved, hash string, message []byte) ([]byte, error) {
	var sum []byte
	switch hash {
	case hashSHA512:
		s := sha512.Sum512(message)
		sum = s[:]
	case hashSHA256:
		s := sha256.Sum256(message)
		sum = s[:]
	default:
		return nil, fmt.Errorf("SSH signature hashes with %q, known are %s and %s", hash, hashSHA512, hashSHA256)
	}
	return append([]byte(magic), ssh.Marshal(struct {
		Namespace, Reserved, Hash string
		Sum                       []byte
	}{namespace, reserved, hash, sum})...), nil
}
