package webhook

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// IsGenuine says whether the request was signed with the secret (whsec_…), or the private key of the public one (whpk_…).
func IsGenuine(headers http.Header, body []byte, secret string) bool {
	timestamp := headers.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || time.Since(time.Unix(seconds, 0)).Abs() > 5*time.Minute {
		return false
	}
	signed := append([]byte(headers.Get("webhook-id")+"."+timestamp+"."), body...)
	kind, encoded, _ := strings.Cut(secret, "_")
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(key) < 24 {
		return false // no secret: anybody can sign with an empty key
	}
	for _, signature := range strings.Split(headers.Get("webhook-signature"), " ") {
		scheme, value, _ := strings.Cut(signature, ",")
		given, err := base64.StdEncoding.DecodeString(value)
		if err != nil {
			continue
		}
		if scheme == "v1" && kind == "whsec" {
			mac := hmac.New(sha256.New, key)
			mac.Write(signed)
			if hmac.Equal(mac.Sum(nil), given) {
				return true
			}
		}
		if scheme == "v1a" && kind == "whpk" && len(key) == ed25519.PublicKeySize && ed25519.Verify(key, signed, given) {
			return true
		}
	}
	return false
}
