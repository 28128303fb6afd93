package pool

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const certificatePrefix = "aether-certificate-1 "

// ReadCertificate returns the certificate in dir. Where there is none the error wraps
// fs.ErrNotExist, where it is damaged ErrCertificate.
func ReadCertificate(dir string) (*Certificate, error) {
	path := filepath.Join(dir, CertificateFile)
	b, err := readPrivate(path)
	if err != nil {
		return nil, err
	}
	coded, ok := strings.CutPrefix(strings.TrimSpace(string(b)), certificatePrefix)
	if !ok {
		return nil, fmt.Errorf("%s: %w: it does not begin with %q", path, ErrCertificate, certificatePrefix)
	}
	raw, err := base64.RawStdEncoding.Strict().DecodeString(coded)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", path, ErrCertificate, err)
	}
	c, err := ParseCertificate(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// WriteCertificate puts c into dir, in place of the one that is there.
func WriteCertificate(dir string, c *Certificate) error {
	text := certificatePrefix + base64.RawStdEncoding.EncodeToString(c.Append(nil)) + "\n"
	return writePrivate(filepath.Join(dir, CertificateFile), []byte(text))
}

// PrepareKey returns the key of the machine in dir, which is in no pool yet; it makes
// directory and key where they are missing. It fails with ErrExists where the machine
// is in a pool.
func PrepareKey(dir string, passphrase []byte) (ed25519.PrivateKey, error) {
	seed, err := takeUpKey(dir, passphrase)
	if err != nil {
		return nil, err
	}
	return ed25519.NewKeyFromSeed(seed[:]), nil
}

// takeUpKey reads the seed of the key of a machine that is in no pool, or makes one, and
// the directory where that is missing.
func takeUpKey(dir string, passphrase []byte) ([keySize]byte, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return [keySize]byte{}, fmt.Errorf("pool: %w", err)
	}
	if _, err := os.Lstat(filepath.Join(dir, SecretFile)); err == nil {
		return [keySize]byte{}, fmt.Errorf("%w (%s)", ErrExists, dir)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return [keySize]byte{}, fmt.Errorf("pool: %w", err)
	}
	seed, err := load(dir, KeyFile, machinePrefix, passphrase)
	if errors.Is(err, fs.ErrNotExist) {
		rand.Read(seed[:])
		err = save(dir, KeyFile, machinePrefix, seed, passphrase)
	}
	return seed, err
}

// sealedFiles are the files of a machine's directory that a passphrase seals.
var sealedFiles = []string{KeyFile, SecretFile}

// Sealed reports whether the machine's key in dir is sealed by a passphrase.
func Sealed(dir string) (bool, error) {
	b, err := readPrivate(filepath.Join(dir, KeyFile))
	return err == nil && isSealed(string(b)), err
}

// ChangePassphrase seals the files of dir under another passphrase. An empty old one
// means that they are not sealed, an empty new one that they shall not be. Each file
// changes whole or not at all; after a crash between two, the same call again ends the
// work. It fails with ErrPassphrase, and changes nothing, where a file opens with
// neither.
func ChangePassphrase(dir string, old, fresh []byte) error {
	texts := make([]string, len(sealedFiles))
	for i, name := range sealedFiles {
		path := filepath.Join(dir, name)
		raw, err := readPrivate(path)
		if errors.Is(err, fs.ErrNotExist) && name == SecretFile {
			return fmt.Errorf("%w (%s)", ErrNoPool, dir)
		}
		if err != nil {
			return err
		}
		if texts[i], err = openEither(strings.TrimSpace(string(raw)), old, fresh); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	for i, name := range sealedFiles {
		text := texts[i]
		if len(fresh) > 0 {
			var err error
			if text, err = seal(text, fresh, sealCost); err != nil {
				return err
			}
		}
		if err := writePrivate(filepath.Join(dir, name), []byte(text+"\n")); err != nil {
			return err
		}
	}
	return nil
}

// openEither opens text with the old passphrase, or with the new one where an earlier
// change was interrupted.
func openEither(text string, old, fresh []byte) (string, error) {
	if !isSealed(text) {
		return text, nil
	}
	plain, err := unseal(text, old)
	if errors.Is(err, ErrPassphrase) && len(fresh) > 0 {
		if again, aerr := unseal(text, fresh); aerr == nil {
			return again, nil
		}
	}
	return plain, err
}
