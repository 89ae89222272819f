// go-smtp with a handler that drops every message, or one that keeps each in a file of its own and syncs it:
//
//	go_smtp drop|files [CERTIFICATE starttls|implicit]
//
// The files lie in the working directory.
package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"os"

	"github.com/emersion/go-smtp"
)

type backend struct{ keep bool }

func (b backend) Login(*smtp.ConnectionState, string, string) (smtp.Session, error) {
	return nil, smtp.ErrAuthUnsupported
}

func (b backend) AnonymousLogin(*smtp.ConnectionState) (smtp.Session, error) {
	return session{b.keep}, nil
}

type session struct{ keep bool }

func (session) Reset()                              {}
func (session) Logout() error                       { return nil }
func (session) Mail(string, smtp.MailOptions) error { return nil }
func (session) Rcpt(string) error                   { return nil }

func (s session) Data(body io.Reader) error {
	if !s.keep {
		_, err := io.Copy(io.Discard, body)
		return err
	}
	file, err := os.CreateTemp(".", "message")
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := io.Copy(file, body); err != nil {
		return err
	}
	return file.Sync()
}

func main() {
	server := smtp.NewServer(backend{keep: os.Args[1] == "files"})
	server.Domain = "localhost"
	server.AuthDisabled = true
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	if len(os.Args) > 2 {
		pair, err := tls.LoadX509KeyPair(os.Args[2], os.Args[2])
		if err != nil {
			log.Fatal(err)
		}
		server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}}
		if os.Args[3] == "implicit" {
			listener = tls.NewListener(listener, server.TLSConfig)
		}
	}
	log.Fatal(server.Serve(listener))
}
