// lookup NAME…: what Go says of each, a line of "NAME ADDRESS…", or "NAME !ERROR".
package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
)

func main() {
	for _, name := range os.Args[1:] {
		found, err := net.LookupHost(name)
		var dnsError *net.DNSError
		if errors.As(err, &dnsError) && dnsError.IsNotFound {
			fmt.Println(name, "!absent")
		} else if err != nil {
			fmt.Println(name, "!"+err.Error())
		} else {
			fmt.Println(name, strings.Join(found, " "))
		}
	}
}
