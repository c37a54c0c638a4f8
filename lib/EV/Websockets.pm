package EV::Websockets;

use strict;
use warnings;
use 5.010;

use EV ();
use XSLoader ();

our $VERSION = '0.11';

XSLoader::load('EV::Websockets', $VERSION);

1;

__END__

=encoding UTF-8

=head1 NAME

EV::Websockets - WebSocket client and server on the EV event loop

=head1 SYNOPSIS

    use strict;
    use warnings;
    use EV;
    use EV::Websockets;

    my $ctx = EV::Websockets::Context->new;

    # A server that answers every message in capitals ...
    my $port = $ctx->listen(
        max_message_size => 64 * 1024,
        on_message       => sub {
            my ($c, $bytes, $is_binary) = @_;
            $c->send(uc $bytes);
        },
    );

    # ... and a client, in the same program and on the same loop.
    $ctx->connect(
        url        => "ws://127.0.0.1:$port/",
        on_connect => sub {
            my ($c, $headers) = @_;
            $c->send('hello');
        },
        on_message => sub {
            my ($c, $bytes) = @_;
            print "server says: $bytes\n";
            $c->close(1000, 'thank you');
        },
        on_close => sub {
            my ($c, $code, $reason) = @_;
            print "closed with code $code\n";
            EV::break;
        },
        on_error => sub {
            my ($c, $text) = @_;
            warn "failed: $text\n";
            EV::break;
        },
    );

    EV::run;

=head1 DESCRIPTION

WebSockets (RFC 6455) for programs that run on L<EV>, the Perl interface to
libev: clients and servers, any number of both in one process, on the loop that
also runs your timers and other watchers. The protocol and the sockets are
written in Rust and compiled into the module; established connections are read,
checked and written on the thread that runs the loop, by plain function calls.

There are three things to know before you begin:

=over

=item *

A B<context> (L</EV::Websockets::Context>) owns listeners and connections. Keep
it in a variable for as long as you want them to live.

=item *

A B<connection> (L</EV::Websockets::Connection>) is passed to your callbacks as
their first argument. You may keep it, but you need not: it stays open without.

=item *

Everything happens in the loop. C<connect> and C<listen> return at once, and no
callback runs before C<EV::run> does.

=back

The directory F<eg/> of the distribution has a dozen short programs, each of
which shows one thing: F<echo_test.pl> is the one to begin with,
F<backpressure.pl> shows how to send a lot, F<chat_server.pl> is a small server.

The interface is that of EV::Websockets 0.10, and programs written for it run
unchanged; L</DIFFERENCES TO 0.10> lists what has been fixed and what is new.

=head2 What is not there yet

These parts are in work, and croak with C<... not built yet> until they are there:
L</adopt>, and of a listener with TLS the options C<ssl_verify_client>,
C<ssl_client_ca> and C<ssl_sni>. A listener does not ask clients for certificates.

=head2 Bytes and characters

Every payload is B<bytes>. What C<on_message> and C<on_pong> pass never has
Perl's UTF-8 flag on; a text message is the UTF-8 encoded text:

    use Encode qw(decode encode);

    $c->send(encode('UTF-8', $string));            # characters to bytes

    on_message => sub {
        my ($c, $bytes, $is_binary) = @_;
        my $string = $is_binary ? $bytes : decode('UTF-8', $bytes);
    },

What goes out are the octets that Perl keeps for the scalar: its UTF-8 encoding
if it is a string with characters above 0xFF, also when you forgot C<encode>;
the bytes themselves if it holds bytes. Strings with characters from 0x80 to
0xFF can be stored either way, so do not forget it. A text message that is not
valid UTF-8 is a protocol error, for which peers close the connection with 1007. JSON encoders have a C<utf8> option, which
does the encoding: see F<eg/json_protocol.pl>.

=head1 EV::Websockets::Context

=head2 new

    my $ctx = EV::Websockets::Context->new(%options);

Makes a context. It costs nothing while it has neither a listener nor a
connection: it wakes nobody up and lets C<EV::run> return. With one of them it
keeps the loop running.

=over

=item loop => $loop

The L<EV::Loop|EV/"EVENT LOOPS"> to run on. Default: the default loop.

=item proxy => $proxy, proxy_port => $port

The proxy through which every C<connect> of this context goes, loopback
addresses included: C<[scheme://][user:password@]host[:port]>. Default: from the
environment, see L</ENVIRONMENT>; C<< proxy => "" >> turns that off. The schemes
are

    http      HTTP CONNECT; also when there is no scheme
    socks5    SOCKS5; the host of the URL is looked up here
    socks5h   SOCKS5; the host of the URL is looked up by the proxy

An HTTP proxy is told user name and password by Basic authentication. Characters
that would be misread in them are percent-encoded (C<%40> for C<@>).
C<proxy_port> is for a proxy that has no port in itself; without it the port is
1080. There is no TLS to the proxy. L</peer_address> is then the proxy's.

What the proxy refuses is told by C<on_error>, with its status line or the
meaning of its SOCKS reply: C<proxy 192.0.2.1:3128: answered: 403 Forbidden>.

=item ssl_cert => $file, ssl_key => $file

PEM files: the certificate and key with which clients of this context
identify themselves. Default: none.

=item ssl_ca => $file

PEM file: the roots to trust, in place of the system's.

=item ssl_init => $anything

Accepted for programs written for 0.10. Has no effect: there is no global TLS
state.

=back

=head2 connect

    my $c = $ctx->connect(url => "ws://host:8080/path?query", %options);

Begins to connect, and returns the L<connection|/EV::Websockets::Connection> at
once, in state C<connecting>. No callback runs inside of this call. What comes
of it is told by B<one> of C<on_connect> or C<on_error>.

=over

=item url => $string

Required. C<ws://host[:port][/path][?query]>, or C<wss://> for TLS, the
scheme in upper or lower case. The port defaults to 80, or 443 for C<wss>. An
IPv6 address is written in brackets: C<ws://[::1]:8080/>. Names are resolved
without blocking the loop. When a name has several addresses, they are tried
with IPv6 and IPv4 in turn, a further one whenever one fails or 250 ms are over,
until one answers (RFC 8305); C<on_error> comes when all have failed, and lists
them. User names and passwords in URLs are not supported;
send an C<Authorization> header instead.

C<ws+unix:/run/app.sock:/path?query> connects to a Unix socket, past any proxy. The
first colon behind the scheme ends the path of the socket, and what follows may be
left out; a colon in the path is written C<%3A>. C<Host> is then C<localhost>.
F<eg/unix_socket.pl> shows both ends.

=item protocol => $name, protocol => \@names

The subprotocols to offer, best first: one name, several in one string
separated by commas, or an array reference. Default: none. The one that the
server chose is returned by L</get_protocol>. A server that chooses one that
was not offered fails the connection.

=item headers => \%request_headers

Headers to add to the request. Names are sent as you spell
them. A value that is an array reference sends the header once for each of its
elements. C<Host> replaces the one that would be sent; the headers that make the
upgrade (C<Upgrade>, C<Connection>, C<Sec-WebSocket-Key> ...) cannot be given.
Default: none.

=item connect_timeout => $seconds

The time (fractions allowed) from this call to the end of the upgrade, name
resolution and proxy included. When they are over, C<on_error> is called with the text
C<connect timeout>. Default: 0, no limit but those of the operating system.

=item max_message_size => $bytes

The longest message to accept. Default: 0, no limit. It is
enforced as soon as the header of a frame passes it, before the payload has come,
and while a compressed message is being inflated: what counts is what the message
becomes, and no more than that is ever held. C<on_error> with C<message exceeds max_message_size>, a Close frame with code
1009, then C<on_close>. B<Set it wherever the other side is not yours>, see
L</SECURITY>.

=item validate_utf8 => $boolean

Default: true. Whether text messages and the reasons of Close frames are
checked to be valid UTF-8; if they are not, the connection is closed with 1007.

=item deflate => $offer, deflate => \%options

Whether to offer compression, and how to compress. Default: true. See
L</COMPRESSION>.

=item ssl_verify => $boolean

Default: true. Whether the server's certificate must be valid for the
host of the URL. Turn it off for tests only: anybody is believed then.

=item ssl_ca => $file, ssl_cert => $file, ssl_key => $file

In place of those of the context, see L</new>.

=item ssl_server_name => $name

The name that is sent to the server (SNI), and that its certificate must be valid
for. Default: the host of the URL.

=item ssl_alpn => $name, ssl_alpn => \@names

The protocols to offer by ALPN (RFC 7301), best first. Default: none.

=item on_connect => \&code, on_message, on_close, on_error, on_pong, on_drain

The callbacks, see L</CALLBACKS>. Each is optional.

=back

=head2 listen

    my $port = $ctx->listen(port => 8080, %options);

Listens for connections on all addresses, IPv4 and IPv6, and returns the number
of the port. The callbacks and limits given here hold for every connection that
comes in. Listeners stay until the context is destroyed.

=over

=item port => $number

From 0 to 65535. Default: 0, any free one.

=item path => $file, mode => $permissions

Listen at a Unix socket in place of a port; C<listen> then returns 0. A socket that
nobody listens on any more is replaced, anything else that is there is left alone:
C<listen> croaks. C<mode>, a number such as C<0600>, is set before anybody can connect;
without it the umask decides. The file is removed when the context is destroyed or the
program ends, by the process that made it. A path has room for about a hundred bytes.

=item name => $label

Default: C<server>. A label, which several listeners may share. The name
C<default> is reserved.

=item protocol => $allowed

The subprotocols that are spoken here, in the forms that C<connect> takes. A
connection gets the first of those that the client offers which is among them,
and none if there is none. Default: none is ever chosen.

=item headers => \%response_headers

Headers to add to every response that accepts a connection, in the form that
C<connect> takes. Default: none.

=item max_message_size => $bytes, validate_utf8 => $boolean

As for L</connect>.

=item deflate => $accept, deflate => \%options

Whether to accept compression, and how to compress. Default: false, since it
costs memory and CPU time for every connection. See L</COMPRESSION>.

=item ssl_cert => $chain_file, ssl_key => $key_file

PEM files, both or none: serve C<wss://> with this certificate chain and
key. Default: none, C<ws://>.

=item ssl_ca => $file

PEM file with further certificates, which are sent behind those of C<ssl_cert>:
the intermediate ones, unless they stand in that file already.

=item on_handshake => \&code

Called with C<(\%headers)> before a connection is accepted; see
L</on_handshake>. The other callbacks are given as for L</connect>.

=back

Requests that are no acceptable upgrade are answered without asking you:

    426  not a WebSocket request (with "Upgrade: websocket"), or a version
         other than 13 (with "Sec-WebSocket-Version: 13")
    400  malformed
    403  refused by on_handshake
    408  not complete after 30 seconds
    431  more than 16 KiB or more than 128 headers
    500  on_handshake returned headers that cannot be sent

=head2 adopt

    my $c = $ctx->adopt(fh => $socket, initial_data => $bytes, %options);

Takes over a connected socket as a server-side connection: one that your own
HTTP server accepted, for example. B<In work>: croaks for now.

=over

=item fh => $socket

The file handle, required. The descriptor is duplicated; the handle is
kept until the connection is freed, and never closed by this module.

=item initial_data => $bytes

Bytes that have been read from the socket already, as a rule the upgrade
request. With a complete request the answer is sent at once; otherwise when the
rest arrives.

=back

Limits and callbacks are given as for L</connect>.

=head2 connections

    my @open = $ctx->connections;

The connections in state C<connected> or C<closing>, those that came in and
those that were made alike, in no particular order.

=head1 EV::Websockets::Connection

Objects of this class come from L</connect> and as the first argument of
callbacks. It is the same object in each callback of a connection, so C<"$c">
can be the key of a hash from the beginning to C<on_close>.

=head2 send, send_binary

    $c->send($bytes);
    $c->send_binary($bytes);

Queue a text or a binary message. Empty messages are messages. The queue is
written when the running callback has returned, or before the loop waits: right
after the call, L</send_queue_size> counts the message. Both croak unless the
state is C<connected>, and while a fragmented message is in progress.

=head2 send_fragment

    $c->send_fragment($bytes, $is_binary = 0, $is_final = 1);

Sends a message in pieces, of which the total length need not be known when
the first one is sent:

    $c->send_fragment('first, ',  0, 0);
    $c->send_fragment('second, ', 0, 0);
    $c->send_fragment('last',     0, 1);

C<$is_binary> counts for the first piece. The receiving C<on_message> gets one
joined message. Pings and pongs may be sent between pieces; other messages may
not. Croaks unless the state is C<connected>.

=head2 send_ping, send_pong

    $c->send_ping($bytes = '');
    $c->send_pong($bytes = '');

Queue a Ping, which the peer answers with a Pong of the same payload (see
L</on_pong>), or a Pong that nobody asked for. The payload is cut to 125 bytes.
Pings of the peer are answered for you, each one. Croaks unless the state is
C<connected>.

=head2 send_queue_size

    my $bytes = $c->send_queue_size;

The number of payload bytes that are queued and that the operating system has
not taken yet. 0 when closed. Never croaks. See L</BACKPRESSURE>.

=head2 close

    $c->close($code = 1000, $reason = '');

Ends the connection in order: what is queued is sent, then a Close frame, and
when the peer has answered it, C<on_close> is called. From now on the state is
C<closing>, and neither C<on_message> nor C<on_drain> is called any more. A
fragmented message in progress is ended with an empty last piece. When the peer
makes no progress for 10 seconds the connection is cut, and C<on_close> gets
1006.

C<$reason> is cut to 123 bytes, between characters. Does nothing unless the
state is C<connected>. Croaks if C<$code> may not be sent, see L</CLOSE CODES>.

=head2 pause_recv, resume_recv

    $c->pause_recv;
    $c->resume_recv;

Stop reading from the peer, and go on. Nothing is delivered while reading is
paused, not even messages that were already read, nor the end of the connection;
and pings are not answered. The peer's sending comes to a halt when the buffers
of the operating systems are full. Nothing happens unless the state is C<connected>.

=head2 state

    my $state = $c->state;

One of

    connecting   connect() was called; nothing can be sent yet
    connected    open
    closing      close() was called, or the peer is closing
    closed       over, or it never came to be
    destroyed    DESTROY was called on the object by hand

=head2 is_connected, is_connecting

Whether the state is C<connected>; whether it is C<connecting>.

=head2 stash

    $c->stash->{user} = 'ann';

A hash reference for whatever belongs to this connection. It is there from the
beginning until the object is freed, also after the connection has been closed.
Mind L</LIFETIMES> when you put code references or connections into it.

=head2 get_protocol

The subprotocol that was agreed on, or undef.

=head2 extensions

The extension that was agreed on, in the words of the server's answer
(C<permessage-deflate; server_no_context_takeover>), or undef. See
L</COMPRESSION>.

=head2 peer_address

The peer's address as text: C<127.0.0.1>, C<::1>. undef when not connected, and for Unix sockets.

=head1 CALLBACKS

    on_connect   ($c, \%headers)                      the connection is open
    on_message   ($c, $bytes, $is_binary, $is_final)  a message
    on_close     ($c, $code, $reason)                 an open connection has ended
    on_error     ($c, $text)                          it failed
    on_pong      ($c, $payload)                       a Pong came
    on_drain     ($c)                                 the send queue is empty
    on_handshake (\%headers)                          may this client come in?

A callback may call any method of any object, drop any reference, destroy the
context, end the loop with C<EV::break>, or run another C<EV::run>.

A callback that dies does not end anything: the error is printed as a warning,
C<EV::Websockets: exception in message handler: ...> (or C<connect>, C<close>,
C<error>, C<pong>, C<drain>), and the connection goes on. From C<on_handshake> it is
C<EV::Websockets: exception in on_handshake: ...>, and the client is refused.
C<$@> is left as it was.

The value C<undef> is the same as not giving the callback; anything else that is
not a code reference croaks.

=head2 on_connect

Called when the upgrade is done. A client gets the headers of the response, a
server those of the request. Names are in their usual spelling
(C<Content-Type>, C<Sec-WebSocket-Protocol>, C<WWW-Authenticate>). When a header
was repeated, its values are joined with C<", ">; those of C<Cookie> with C<"; ">,
those of C<Set-Cookie> with a newline. A server finds three more entries:

    Path    the path of the request, percent-decoded, without the query
    Query   the query as it was sent; missing if there is none
    URI     path and query as they were sent

=head2 on_message

Called with a whole message, however many fragments it came in. C<$is_binary> is
1 or 0, C<$is_final> is always 1.

=head2 on_close

Called once, after everything else, for each connection that had
C<on_connect>. The state is C<closed>. C<$code> is

=over

=item *

what the peer's Close frame said, also as the answer to ours; 1005 if it had no
code;

=item *

the code with which we closed because of an error: 1002, 1007 or 1009;

=item *

1006 if the connection ended without a Close frame.

=back

C<$reason> is what came with it, in bytes, or undef.

=head2 on_error

Called with a text that says what went wrong and why, in one of two cases:

=over

=item *

The connection could not be made: the name does not resolve, the connection was
refused, the time is over, the server's answer was not an upgrade. The
state is C<closed>. C<on_close> is B<not> called.

=item *

The peer broke the protocol or a limit. C<on_close> follows.

=back

A program that reconnects does so in C<on_close>, and in C<on_error> if
C<< $c->state eq 'closed' >>; F<eg/reconnect.pl> shows it.

=head2 on_pong

Called for every Pong, asked for or not. F<eg/keepalive.pl> finds dead peers
with it.

=head2 on_drain

Called when the send queue has become empty, after something had been queued.
Not called any more after L</close>. See L</BACKPRESSURE>.

=head2 on_handshake

Only for L</listen>. Called with the headers that C<on_connect> would get,
before the connection is accepted. A false value refuses: the client is
answered C<403 Forbidden>; so does an exception. A hash reference accepts, and
its entries are added to the headers of this response, in the form of the
option C<headers>. Any other true value
accepts.

    on_handshake => sub {
        my ($headers) = @_;
        return 0 unless $headers->{Path} eq '/chat';
        return { 'Set-Cookie' => 'seen=1' };
    },

=head1 TLS

C<wss://> is TLS 1.3 or 1.2, by rustls. All files are PEM. They are read when a
C<connect> or C<listen> names them for the first time, and not again by the same
context; keys may be PKCS#8, PKCS#1 or SEC1, for RSA, ECDSA or Ed25519, without a
password. A file that cannot be used croaks, with its name and the reason.

B<Clients> trust the roots of the system (or those that the environment variables
C<SSL_CERT_FILE> and C<SSL_CERT_DIR> name), or the ones in C<ssl_ca> and no others.
The certificate must be in date, lead to one of them, and be valid for the host of
the URL: a name, or an address, as C<subjectAltName>. The common name is not looked
at, and neither is whether a certificate was revoked. A self-signed certificate is
trusted if it is in C<ssl_ca> itself. Why a server was refused is passed to
L</on_error>:

    TLS handshake with localhost: invalid peer certificate: certificate expired
    TLS handshake with 127.0.0.1: the peer does not speak TLS

B<Servers> are not told about handshakes that fail. A client that speaks plain HTTP
to them gets C<400 Bad Request>.

Sessions are resumed, by clients within one context, and by servers within one
listener. A connection that ends without a Close frame is closed with 1006, whether or not
TLS was ended properly.

C<send_queue_size> counts payload until the system has all of its TLS records. These are
made of up to 64 KiB at a time.

=head1 CLOSE CODES

    1000  normal                           1008  against a policy
    1001  going away                       1009  message too big
    1002  protocol error                   1010  extension missing
    1003  cannot accept this kind of data  1011  internal error
    1005  no code was sent       (*)       1012  service restarts
    1006  no Close frame came    (*)       1013  try again later
    1007  data is not valid (UTF-8)        1014  bad gateway
    1015  TLS handshake failed   (*)
    3000-3999  registered for libraries and frameworks
    4000-4999  free for your program

Those with an asterisk are never sent, and L</close> croaks on them and on
whatever is not in the table. F<eg/graceful_shutdown.pl> closes a server with 1001.

=head1 BACKPRESSURE

C<send> never blocks and never fails because the peer is slow: it queues. A
program that sends faster than the peer reads fills its memory, unless it looks
at the queue. To send a lot, send until L</send_queue_size> reaches a limit of
your choice, and go on in L</on_drain>:

    sub fill {
        my ($c) = @_;
        while ($c->send_queue_size < 256 * 1024) {
            my $chunk = next_chunk();
            return $c->close unless defined $chunk;    # sends what is queued first
            $c->send_binary($chunk);
        }
    }

    $ctx->listen(on_connect => \&fill, on_drain => \&fill);

F<eg/backpressure.pl> is this program. To send the same thing to many, drop those
whose queue has become too long, as F<eg/chat_server.pl> does.

In the other direction, L</pause_recv, resume_recv> keep a peer from sending
faster than you can work. A program in the middle connects the two: see
F<eg/proxy.pl>.

=head1 COMPRESSION

With permessage-deflate (RFC 7692) both sides compress the messages that they
send. Clients of this module offer it, and so do all browsers; servers accept
it when they are told to. What your callbacks see is the same with and without;
L</extensions> tells what a connection has.

    $ctx->listen(port => 8080, deflate => 1, max_message_size => 64 * 1024, ...);

The option C<deflate> of L</connect> and L</listen> is false (off), true (on), or
a reference to a hash (on) with any of these keys:

=over

=item server_no_context_takeover => $boolean, client_no_context_takeover => $boolean

Whether the server, or the client, begins each message anew. If not, it
refers back to what it has sent before, which makes short messages that are alike
much shorter, and keeps a window in memory for as long as the connection lives,
on both sides. Default for C<listen>: true, both, see below. For C<connect>: false, both;
a server may still say that it wants it.

=item server_max_window_bits => 9 .. 15, client_max_window_bits => 9 .. 15

How far back the server, or the client, may refer: the base-2 logarithm of the
number of bytes. Less is less memory, and less compression of long messages.
Default: what the other side says, else 15. A server that is given
C<client_max_window_bits> goes on without compression when a client does not say that
it can be limited. Browsers do.

=item threshold => $bytes

Shorter messages are sent as they are, and so is one that stands for itself and does not
become shorter. With 0 all that are not empty are compressed. Default: 256. The first piece of a
L<fragmented message|/send_fragment> decides for all of it.

=item level => 1 .. 9

From 1, the fastest, to 9, the smallest. Default: 2.

=item memory => $bytes

What a connection may hold for compression between two messages: 47,700 for what the
peer sends, and 249,000 and 4 for each byte of the window for what is sent, where
contexts are taken over. Where that is more, the window becomes smaller, and contexts are
not taken over if that is not enough. Default: 0, no limit.

=back

Values out of range croak, a key that is not known is warned about.

A client fails the connection if the server's answer is not one to its offer:
parameters that are unknown, repeated or out of range, extensions that it did not ask
for, or a promise that it asked for and did not get
(C<server_no_context_takeover>, C<server_max_window_bits>). A server takes the
first of a client's offers that it can accept, and goes on without compression
when there is none. A window of 8 bits is one that zlib cannot write: no
connection ever has to.

=head2 What it costs

As C<listen> negotiates it by default, next to no memory: what compresses and inflates is
shared by the connections of a context, and a connection has 900 bytes in place of
700, ten thousand of them 9 MB. With contexts that are taken over in both
directions, each connection that has sent and received something holds 340 KB, and
ten thousand of them 3.4 GB. When it has been idle for five to ten
seconds, all is given back but what the peer may refer to, of at most 32 KiB, and what
it sends next begins anew. See also the option C<memory>.

The CPU time, of both ends together, is about 12 microseconds for a JSON message of
200 bytes that becomes 123 (6, and 67 bytes, with takeover), and 23 for one of 2000 that
becomes 660 (21, and 590). Without compression it is 0.3 and 0.6.
F<docs/performance.md> has the figures. Messages that are sent to many are
compressed for each of them.

So: take contexts over where connections are few, or messages are short and alike; leave
the default where they are many; turn it off where messages are short, or what
you send is compressed already.

Some clients promise to forget and do not: they leave the parameters of the server's answer
unread (L<Mojo::UserAgent> does). The first of their messages that refers to one before it
fails the connection then. C<< client_no_context_takeover => 0 >> serves them.

=head1 LIFETIMES

A B<connection> lives as long as it is open, whether or not you hold a reference
to it. The object is freed when it is closed and you have dropped your last
reference. One that you keep longer is safe to use: its state is C<closed>.

A B<context> lives as long as you hold it. Connections do not keep it. When its
last reference goes, also from inside a callback, its listeners and sockets are
closed, what is queued is offered to the operating system once, without
waiting, and its connections become C<closed> without any callback being
called. To end in order, close the connections first and wait for C<on_close>:
F<eg/graceful_shutdown.pl>. A program that exits with a context still in a
variable sends nothing more, not even what C<close> has queued.

So this does not work, because the context is gone when the loop runs:

    sub start {
        my $ctx = EV::Websockets::Context->new;
        $ctx->listen(port => 8080, on_message => \&message);
    }
    start();
    EV::run;      # returns at once

=head2 Closures that leak

A connection holds its callbacks until it is closed. A callback that refers to
its own connection by a variable from outside makes a circle, which lasts until
then, whatever else you drop; and when you connect again, the variable and the
connection that the callback is called for may be two different ones:

    my $c;
    $c = $ctx->connect(
        url        => $url,
        on_message => sub { $c->send('thanks') },      # wrong
    );

Take the connection from the arguments instead:

        on_message => sub { my ($c) = @_; $c->send('thanks') },

The same is true of the stash. These make circles, until the entry is deleted
(in C<on_close>) or weakened:

    $c->stash->{timer} = EV::timer 5, 5, sub { $c->send_ping };
    $c->stash->{other} = $d;  $d->stash->{other} = $c;

    use Scalar::Util qw(weaken);
    weaken(my $weak = $c);
    $c->stash->{timer} = EV::timer 5, 5, sub { $weak->send_ping if $weak->is_connected };

A callback of a listener that refers to C<$ctx> keeps the context alive. In a
program whose context lives to the end that does no harm; elsewhere, weaken it,
or C<undef $ctx> when you are done: the closure shares the variable, and the
circle is broken.

=head1 ERRORS

Mistakes of the program croak, with the line of the caller. What goes wrong with
a peer or the network is passed to L</on_error>.

=head2 Croaks of connect

    odd number of options: key 'K' has no value
    url parameter is required
    URL must start with ws:// or wss://
    connect: invalid port in url (expected 1-65535)
    Context has been destroyed
    connect: WHY

WHY names, for a C<wss> URL, the TLS option or file that cannot be used.

=head2 Croaks of new

    odd number of options: key 'K' has no value
    new: proxy: 'X' is not [scheme://][user:password@]host[:port]
    new: proxy: the scheme of a proxy must be http, socks5 or socks5h (got 'X')

=head2 Croaks of listen

    odd number of options: key 'K' has no value
    listen: option 'K' must be a defined string
    listen: vhost name 'default' is reserved
    listen: ssl_cert and ssl_key must both be set for TLS (only ssl_cert was given)
    Failed to create vhost for listening: WHY
    listen: failed to bind port: WHY
    listen: failed to bind path 'PATH': WHY
    listen: give either port or path
    listen: path must not have more than 107 bytes (got N)
    listen: mode is for a path
    listen: mode must be a number from 0 to 0777, such as 0600 (got 'X')

The first one of the TLS messages also comes with C<(only ssl_key was given)>.
WHY names the file that cannot be used, or the error of the operating system.

=head2 Croaks of adopt

    fh parameter is required
    Invalid filehandle
    adopt: file handle is not a socket
    Failed to adopt socket: WHY

=head2 Croaks of all three

They also croak on carriage returns, line feeds and NULs in header names and
values, in paths and in protocols; on C<headers> that are not a hash reference;
on callbacks that are not code references; and on numbers that are out of range.
The message names the option (C<listen: deflate: level must be 1 to 9, not
'12'>). An option that is not known is warned about, once.

=head2 Croaks of send, send_binary, send_ping, send_pong, send_fragment

    Connection is not open
    Connection has been destroyed
    Cannot send while a fragmented message is in progress; finish the fragment
        with send_fragment(..., is_final => 1) first

The first one comes when the state is C<connecting>, C<closing> or C<closed>; the
third, which is one line, from C<send> and C<send_binary> only. The payload must
not be undef, except that of pings and pongs.

=head2 Croaks of close

    close: invalid close code N (RFC 6455 allows 1000-1003, 1007-1014, 3000-4999)
    close: invalid close code 'X' (it is no number)

=head2 Tracing

C<EV::Websockets::_set_debug(1)> prints what the module does to STDERR, and
C<_set_debug(0)> ends that. The text is for people and changes between versions.

=head1 FORK AND THREADS

A child process made by C<fork> has copies of the sockets, which it must not
use: a connection has one owner. Let the child drop the context that it
inherited, or just leave it alone: in a process that did not make it, a context
sends nothing when it is destroyed, and the parent's connections go on
undisturbed. The child may make contexts of its own.

The module starts no thread, except when a name has to be resolved for
C<connect>: that waits in a thread of its own, so that the loop does not. All
signals are blocked in it, and your callbacks run on the thread that runs the loop,
always. A program that uses addresses only has one thread.

With Perl's own threads, contexts and connections stay in the thread that made
them; they are not copied into new ones.

=head1 SECURITY

=over

=item *

Set C<max_message_size> on every listener, and on clients of servers that are
not yours: to the longest message that your protocol has, 64 KiB for most, and hardly
ever more than 1 MiB. Without it, a peer may send a message as large as your
memory, and with compression it need not even send it: a kilobyte becomes a
megabyte. The limit holds for what a message becomes, and is looked at while it is
being inflated, so that such a bomb costs you no more than the limit.

=item *

Compressed messages that have a secret next to something that an attacker can
choose give the secret away by their length (the attack is known as CRIME). Send such
messages in two, or turn compression off. Where contexts are taken over, that is
true of all the messages of a connection, and not only of those that have both.

=item *

The request head of a client is limited to 16 KiB and 128 headers and must be
complete within 30 seconds. After that, nothing times out by itself: ping
your clients and close those that do not answer (F<eg/keepalive.pl>), and limit
the number of connections in C<on_handshake> if you expect many.

=item *

Limit the queue of a client that does not read, see L</BACKPRESSURE>. A client
that sends pings and does not read the pongs is looked after: nothing more is
read from it when 64 KiB of them wait, and 30 seconds later it is cut off.

=item *

A browser sends your cookies with a WebSocket request from any page. Servers
that identify users by cookies have to check C<Origin> in C<on_handshake>.

=item *

C<Path>, C<Query>, headers and messages are what the peer chose to send. Line
ends and control characters may be in them, also when you print them to a log.

=back

=head1 ENVIRONMENT

The proxy of a context that was made without the option C<proxy> is taken from
these variables, as C<new> finds them. Their values have the form of that
option. A variable that is set to the empty string ends the search: no proxy.

=over

=item http_proxy, https_proxy, all_proxy

Asked in this order for C<ws://> URLs; for C<wss://>, C<https_proxy> comes first.
C<HTTPS_PROXY> and C<ALL_PROXY> are read where the lower case is not set;
C<HTTP_PROXY> never is, because a CGI program has it from a header of the request.

=item no_proxy

What is reached directly all the same (also C<NO_PROXY>): a list separated by
commas or blanks, of names (C<example.org> holds for C<www.example.org> too, and
so does C<.example.org>), addresses, networks (C<10.0.0.0/8>, C<fd00::/8>), or
C<*> for everything. With C<:port> behind it, an entry holds for that port only.

=back

C<localhost>, C<127.0.0.0/8> and C<::1> are never proxied because of a variable. A
value that is no proxy is told by C<on_error> to the connections that need it.

=head1 DIFFERENCES TO 0.10

Version 0.10 was built on libwebsockets. The interface is the same; these are
the differences that a program can see.

Fixed:

=over

=item *

C<on_close> gets the peer's code and reason. It was always 1000 and undef.

=item *

The C<Host> header has the port, unless it is the default one.

=item *

Names are resolved without blocking the loop, and all addresses of a name are
tried.

=item *

A server answers with one subprotocol that both sides know, not with the list
that the client sent.

=item *

A handshake that C<on_handshake> refuses is answered C<403 Forbidden>. It was
only cut off.

=item *

Header values with line ends are refused. They were sent.

=item *

C<adopt> never closes a descriptor that belongs to Perl.

=back

New:

=over

=item *

Text is checked to be UTF-8, unless C<validate_utf8> is false.

=item *

Servers accept compression, with C<deflate>; all of its parameters can be given,
and L</extensions> tells what was agreed on.

=item *

All headers are passed to the callbacks, and C<Query> and C<URI> to servers.

=item *

Proxies: SOCKS5, user names and passwords, C<no_proxy>; loopback addresses are not
proxied because of the environment.

=item *

Unix sockets: C<ws+unix:> URLs, and C<path> of C<listen>.

=item *

Repeated headers can be sent, by an array reference.

=item *

Callbacks that are not code references croak, and unknown options are warned
about.

=item *

An idle context does not wake up the process.

=back

=head1 SEE ALSO

L<EV>, the event loop. RFC 6455, the protocol: L<https://www.rfc-editor.org/rfc/rfc6455>.
RFC 7692, compression: L<https://www.rfc-editor.org/rfc/rfc7692>.

F<docs/ARCHITECTURE.md> in the distribution says how the module is built,
F<docs/performance.md> how fast it is and F<docs/conformance.md> what has been
tested against the protocol.

=head1 LICENSE

This library is free software; you can redistribute it and/or modify it under
the same terms as Perl itself.

=cut
