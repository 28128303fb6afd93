package webdav

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// ownHost lets through requests whose Host is an IP address, localhost or a name
// under .local: names that a page on the Internet cannot make point here.
func ownHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
		_, err := netip.ParseAddr(host)
		if err != nil && host != "localhost" && !strings.HasSuffix(host, ".local") && !strings.HasSuffix(host, ".localhost") {
			http.Error(w, "this address serves no such host", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}
