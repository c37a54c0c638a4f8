package EV::Websockets;

use strict;
use warnings;
use 5.010;

use EV ();
use XSLoader ();

our $VERSION = '0.11';

XSLoader::load('EV::Websockets', $VERSION);

# Whether the Origin of a request matches one of the patterns given to listen.
sub _is_from {
    my ($headers, $patterns) = @_;
    for my $pattern (@$patterns) {
        return 1 if $headers->{Origin} =~ $pattern;
    }
    return 0;
}

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
        host             => '127.0.0.1',
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

A B<context> (L<EV::Websockets::Context>) owns listeners and connections. Keep
it in a variable for as long as you want them to live.

=item *

A B<connection> (L<EV::Websockets::Connection>) is passed to your callbacks as
their first argument. You may keep it, but you need not: it stays open without.

=item *

Everything happens in the loop. C<connect> and C<listen> return at once, and no
callback runs before C<EV::run> does.

=back

These pages make up the manual, besides this one:

=over

=item L<EV::Websockets::Context>

C<new>, C<connect>, C<listen>, C<adopt>, and their options.

=item L<EV::Websockets::Connection>

The methods of a connection, the callbacks, close codes, backpressure.

=item L<EV::Websockets::Handshake>

Who may come in: C<on_handshake>, decisions that come later, origins.

=item L<EV::Websockets::HTTP>

Pages and health checks on a listener's port: C<on_request>.

=item L<EV::Websockets::TLS>

C<wss://> for clients and listeners.

=item L<EV::Websockets::Compression>

permessage-deflate.

=item L<EV::Websockets::Neighbours>

AnyEvent, Mojolicious, IO::Async, futures, coroutines, and several loops.

=back

The directory F<eg/> of the distribution has many short programs, each of
which shows one thing: F<echo_test.pl> is the one to begin with,
F<multi_conn.pl> has many connections, F<backpressure.pl> shows how to send a lot,
F<chat_server.pl> is a small server.

The interface is that of EV::Websockets 0.10, and programs written for it run
unchanged; L</DIFFERENCES TO 0.10> lists what has been fixed and what is new.

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
valid UTF-8 is a protocol error, for which peers close the connection with 1007.
JSON encoders have a C<utf8> option, which does the encoding: see
F<eg/json_protocol.pl>. F<eg/binary_test.pl> sends bytes of every value, and text.

=head1 LIFETIMES

A B<connection> lives as long as it is open, whether or not you hold a reference
to it. The object is freed when it is closed and you have dropped your last
reference. One that you keep longer is safe to use: its state is C<closed>.

A B<context> lives as long as you hold it. Connections do not keep it. When its last reference
goes, also from inside a callback, its listeners and sockets are closed, what is queued is
offered to the operating system once, without waiting, and its connections become C<closed>
without any callback being called. To end in order, use
L<shutdown|EV::Websockets::Context/shutdown>. A program that exits with a context still in a
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
a peer or the network is passed to L<on_error|EV::Websockets::Connection/on_error>.

=head2 Tracing

C<EV::Websockets::_set_debug(1)> prints what the module does to STDERR, and
C<_set_debug(0)> ends that. The text is for people and changes between versions.

=head1 FORK AND THREADS

A child process made by C<fork> has copies of the sockets, which it must not
use: a connection has one owner. Let the child drop the context that it
inherited, or just leave it alone: in a process that did not make it, a context
sends nothing when it is destroyed, and the parent's connections go on
undisturbed. C<stop_listening> in a child would take the clients that wait for the parent. A child
that was forked in a callback may leave by C<exit>: what the callback was asked is answered by
the parent. The child may make contexts of its own, when it has called
C<loop_fork> on the loop: libev waits on a descriptor (of epoll or kqueue) that a
child inherits too, and two processes that use it take each other's events.

    defined(my $pid = fork) or die "fork: $!";
    if (!$pid) {
        EV::default_loop->loop_fork;
        ...
    }

The module starts no thread, except when a name has to be resolved for
C<connect>: that waits in a thread of its own, so that the loop does not. And
when more than four TLS handshakes are under way, threads do their arithmetic, as
many as there are processors. All signals are blocked in these threads, and your
callbacks run on the thread that runs the loop, always. A program that uses
addresses only, and meets no such crowd, has one thread.

With Perl's own threads, contexts and connections stay in the thread that made
them; they are not copied into new ones.

=head1 SECURITY

=over

=item *

A listener without C<host> takes connections from the whole network. For clients on this machine
only, or behind a proxy on this machine, say C<< host => '127.0.0.1' >>.

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
complete within 30 seconds, or C<handshake_timeout>. After that, nothing times out by itself: ping
your clients and close those that do not answer (F<eg/keepalive.pl>), and limit
the number of connections in C<on_handshake> if you expect many.

=item *

Limit the queue of a client that does not read, see
L<BACKPRESSURE|EV::Websockets::Connection/BACKPRESSURE>. A client that sends
pings and does not read the pongs is looked after: nothing more is read from it
when 64 KiB of them wait, and 30 seconds later it is cut off.

=item *

A browser sends your cookies with a WebSocket request from any page. Servers
that identify users by cookies have to say which pages they expect, with C<origins>: see
L<ORIGINS|EV::Websockets::Handshake/ORIGINS>.

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
and L<extensions|EV::Websockets::Connection/extensions> tells what was agreed on.

=item *

All headers are passed to the callbacks, and C<Query> and C<URI> to servers.

=item *

Proxies: SOCKS5, user names and passwords, C<no_proxy>; loopback addresses are not
proxied because of the environment.

=item *

Listeners verify the certificates of clients, have several of their own by name, and read
them again while they run; connections tell what TLS has agreed on. See
L<EV::Websockets::TLS>.

=item *

Unix sockets: C<ws+unix:> URLs, and C<path> of C<listen>.

=item *

C<listen> can be told where (C<host>, C<fd>) and how (C<backlog>, C<reuse_port>);
C<listeners> and C<stop_listening>; C<shutdown> ends everything in order, C<abort> a connection at
once.

=item *

TLS is rustls, and needs no OpenSSL. C<connect> and C<listen> have more options for it (the
certificates of clients, several certificates by name, ALPN), L<tls|EV::Websockets::Connection/tls>
tells what was agreed on, and L<reload_tls|EV::Websockets::Context/reload_tls> reads renewed
certificates. See L<EV::Websockets::TLS>.

=item *

C<adopt> takes a PSGI environment, the options of an upgrade, and sockets whose upgrade is over.

=item *

Repeated headers can be sent, by an array reference.

=item *

C<on_handshake> may answer with a response of its own, choose the subprotocol, and decide
later; C<origins> refuses the pages of others.

=item *

C<on_request> answers plain requests; without it they get C<426>.

=item *

A handshake that takes too long is ended (C<handshake_timeout>). After
C<close> a peer that is silent is cut after 10 seconds, and one that goes on sending after 60.

=item *

Callbacks may switch coroutines (L<Coro>).

=item *

Callbacks that are not code references croak. So do unknown options of C<listen> and C<adopt>,
and all that begin with C<ssl_>, C<on_> or C<origin>; others are warned about.

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
