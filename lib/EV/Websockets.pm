package EV::Websockets;

use strict;
use warnings;
use 5.010;

use EV ();
use EV::Websockets::Options ();
use XSLoader ();

our $VERSION = '0.11';

XSLoader::load('EV::Websockets', $VERSION);

# The XS code calls the functions that follow, and those in EV::Websockets::Options, for what
# Perl says in fewer words.

# Whether this perl's memory is the C library's, so that a buffer may change hands.
# The headers that the module was compiled with cannot tell: a perl with -DDEBUGGING
# (Debian's debugperl) loads the same modules, and has a header of its own before
# everything allocated.
sub _takes_memory {
    return 0 if !defined &Internals::V;
    my ($binary_compatible, $others) = Internals::V();
    return "$binary_compatible $others" !~ /DEBUGGING|MYMALLOC|PERL_TRACK_MEMPOOL|PERL_MEM_LOG|PERL_POISON/;
}

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

This module brings WebSockets (RFC 6455) to programs that run on L<EV>, the Perl interface
to libev. One process can have any number of clients and servers, on the loop that also runs
your timers and other watchers. The protocol and the sockets are written in Rust, which is
compiled when the module is installed. Open connections are read, checked and written by plain
function calls, on the thread that runs the loop.

There are three things to know before you begin:

=over

=item *

A B<context> (L<EV::Websockets::Context>) owns listeners and connections. Keep
the context in a variable for as long as you want them to live.

=item *

A B<connection> (L<EV::Websockets::Connection>) is passed to your callbacks as
their first argument. You may keep it, but you need not: a connection stays open even if
you hold no reference to it.

=item *

Everything happens in the loop. C<connect> and C<listen> return at once, and no
callback runs before C<EV::run> does.

=back

The manual has these further pages:

=over

=item L<EV::Websockets::Context>

C<new>, C<connect>, C<listen>, C<adopt>, and their options.

=item L<EV::Websockets::Connection>

The methods of a connection, the callbacks, close codes, backpressure.

=item L<EV::Websockets::Proxies>

Who a client is behind haproxy or nginx: C<trusted_proxies>, C<proxy_protocol>.

=item L<EV::Websockets::Topics>

One message for many: topics, history, prepared messages, slow subscribers.

=item L<EV::Websockets::Backplane>

Topics over many processes and machines, through Redis.

=item L<EV::Websockets::Limits>

How long a peer is waited for, and other limits.

=item L<EV::Websockets::Statistics>

What was received, sent, opened, closed and turned away: C<stats>.

=item L<EV::Websockets::Handshake>

Which clients may connect: C<on_handshake>, decisions that are made later, origins, hosts.

=item L<EV::Websockets::HTTP>

Pages and health checks on a listener's port: C<on_request>.

=item L<EV::Websockets::TLS>

C<wss://> for clients and listeners.

=item L<EV::Websockets::Compression>

permessage-deflate.

=item L<EV::Websockets::Neighbours>

AnyEvent, Mojolicious, IO::Async, futures, coroutines, and several loops.

=item L<EV::Websockets::Differences>

What has been fixed since version 0.10, and what is new.

=back

The directory F<eg/> of the distribution has many short programs, each of
which shows one thing. Begin with F<echo_test.pl>. F<multi_conn.pl> opens many
connections, F<backpressure.pl> shows how to send a lot of data, and F<chat_server.pl>
is a small server.

The interface is that of EV::Websockets 0.10, and programs written for that version run
unchanged. L<EV::Websockets::Differences> lists what has been fixed and what is new.

=head2 Bytes and characters

With the option C<utf8> of C<connect>, C<listen> or C<adopt>, text messages are strings of
characters: C<send> encodes them as UTF-8, and C<on_message> gets them decoded.

    $ctx->connect(url => ..., utf8 => 1,
        on_connect => sub { $_[0]->send("\x{263a}") },
        on_message => sub { my ($c, $string, $is_binary) = @_; ... },
    );

Without this option every payload is B<bytes>, as in 0.10. A text message is then text that is
encoded as UTF-8. The payloads that C<on_message> and C<on_pong> get never have Perl's UTF-8 flag
on.

    use Encode qw(decode encode);

    $c->send(encode('UTF-8', $string));            # characters to bytes
    $c->send_text($string);                        # the same

    on_message => sub {
        my ($c, $bytes, $is_binary) = @_;
        my $string = $is_binary ? $bytes : decode('UTF-8', $bytes);
    },

Do not forget C<encode>. Without it, C<send> sends the octets in which Perl stores the string. If
the string has a character above 0xFF, these are its UTF-8 encoding. If all characters are below
0x80, the octets are right, too. But Perl can store the characters from 0x80 to 0xFF in two ways,
and in one of them the octets are not valid UTF-8. This is a protocol error, for which peers close
the connection with 1007.

Binary messages, Pings and Pongs are always bytes, and a character above 0xFF croaks.

JSON encoders have a C<utf8> option of their own. Use either their option or the one of this module,
and not both: see F<eg/json_protocol.pl>. F<eg/binary_test.pl> sends text, and bytes of every value.

=head1 LIFETIMES

A B<connection> lives as long as it is open, whether or not you hold a reference
to it. The object is freed when the connection is closed and you have dropped your last
reference. An object that you keep longer is safe to use: its state is C<closed>.

A B<context> lives as long as you hold a reference to it. Its connections do not keep it
alive. When the last reference goes, which may happen inside a callback, the context closes its
listeners and sockets. Queued data is offered to the operating system once, without waiting.
The connections become C<closed>, and no callback is called. To end in order, use
L<shutdown|EV::Websockets::Context/shutdown>. A program that exits while a context is still in a
variable sends nothing more, not even what C<close> has queued.

This program does not work, because the context is gone before the loop runs:

    sub start {
        my $ctx = EV::Websockets::Context->new;
        $ctx->listen(port => 8080, on_message => \&message);
    }
    start();
    EV::run;      # returns at once

=head2 Closures that leak

A connection holds its callbacks until it is closed. A callback that refers to its own
connection by a variable from outside makes a reference cycle, which lasts until the connection
is closed. There is a second danger: when you connect again, the variable
holds the new connection, and the callback may have been called for the old one.

    my $c;
    $c = $ctx->connect(
        url        => $url,
        on_message => sub { $c->send('thanks') },      # wrong
    );

Take the connection from the arguments instead:

        on_message => sub { my ($c) = @_; $c->send('thanks') },

The stash can make reference cycles, too:

    $c->stash->{timer} = EV::timer 5, 5, sub { $c->send_ping };
    $c->stash->{other} = $d;  $d->stash->{other} = $c;

Delete such entries in C<on_close>, or use a weak reference:

    use Scalar::Util qw(weaken);
    weaken(my $weak = $c);
    $c->stash->{timer} = EV::timer 5, 5, sub { $weak->send_ping if $weak->is_connected };

A listener's callback that refers to C<$ctx> keeps the context alive. That does no
harm if the context is to live until the program ends. Otherwise, let the callback use a weak
reference, or say C<undef $ctx> when you are done: the closure shares the variable, so the
cycle is broken.

=head1 ERRORS

A mistake in your program croaks, and the message names the line of the caller. An error of
a peer or of the network is passed to L<on_error|EV::Websockets::Connection/on_error>.

=head2 Out of memory

When there is no memory for what you send, C<send>, C<send_binary> and C<send_fragment> croak with
C<Out of memory: nothing was sent, and the connection is as it was>. The connection goes on, and
you can send again when the queue has become shorter. When there is no memory for a message that
arrives, the connection fails: C<on_error> says C<message does not fit into memory>, and the peer
gets the code 1009. The program and its other connections go on in both cases.

This applies to messages, the module's large allocations. A small allocation that fails still
ends the process, as it does in perl, with C<memory allocation of ... bytes failed> or perl's own
C<Out of memory!>.
Your callbacks work with perl's memory: set C<max_message_size>, and limit the send queues
(L<EV::Websockets::Connection/BACKPRESSURE>), so that it does not come to that. Also mind that many
systems promise more memory than there is, and kill a process that uses it. Then nothing croaks.

=head1 DEBUGGING

The module can tell what it does: a line for each frame, each step of a handshake, each change of
state, timer, descriptor and error. While this is off, which is the default, it costs nothing.

=head2 EV_WEBSOCKETS_DEBUG

When this environment variable has a true value at the time the module is loaded, the lines are
printed to STDERR:

    $ EV_WEBSOCKETS_DEBUG=1 perl client.pl
    EV::Websockets: 14:03:22.507827 [handshake] #4294967298: sent GET /chat?(14 bytes) HTTP/1.1
    EV::Websockets: 14:03:22.512410 [handshake] #4294967298: sent Cookie: (8 bytes)
    EV::Websockets: 14:03:22.518033 [frame] #4294967298: received text, FIN, 12 bytes
    EV::Websockets: 14:03:22.519764 [state] #4294967298: life: Open to Closing

C<EV::Websockets::_set_debug(1)> does the same from within a program, and
C<EV::Websockets::_set_debug(0)> ends it.

=head2 on_log

    EV::Websockets::on_log(sub {
        my ($level, $connection_id, $text) = @_;
        $log{$connection_id} .= "$level: $text\n";
    });

The lines are passed to the callback, and not printed. C<undef> in place of a code reference ends
that; any other value croaks. The callback applies to all contexts of the interpreter, also to those
that were made before.

=over

=item $level

What the line is about:

    state        life, reading and writing of a connection
    timer        a timer was started, moved or stopped, or has run out
    frame        the header of a frame that was received, or is queued to be sent
    handshake    a name, an attempt to connect, TLS, the heads of requests and responses
    error        an error, with its text
    descriptor   a descriptor was opened or closed, or is watched for something else

=item $connection_id

A number, which is the same in all lines about one connection, and not that of another: use it as
the key of a hash. The first lines of a connection tell its addresses.
Listening sockets, and the attempts of a client that tries several addresses, have numbers of their
own. 0 is the context itself. A number can come up again after the end of what it stood for.

=item $text

Printable ASCII characters. Others, for example in what a peer has sent, are escaped, and texts
of more than 1000 characters are cut. The text is meant for people, and it changes between versions.

=back

A line about a frame comes before the callback that the frame leads to. What a method does is told
before the method returns.

The callback can call everything, also C<on_log>. What it does, and all that happens until it
returns, makes no lines. When it dies, the exception is printed as a warning. C<$@> and C<$!> are
kept. A thread of perl begins without C<on_log>.

=head2 What is not told

Payloads are not told, only their lengths. Of the heads of requests and responses the values of
C<Authorization>, C<Proxy-Authorization>, C<Cookie>, C<Set-Cookie>, and of headers whose names
contain C<token>, C<secret>, C<api-key> or the like, are replaced by their lengths, and so is the
query of the URL. Other headers are told as they are, C<Sec-WebSocket-Protocol> among them: some
programs put a token there, too.

=head1 FORK AND THREADS

A child process made by C<fork> has copies of the parent's sockets. The child must not use
them, because a connection has one owner. It may drop the context that it inherited, or leave
the context alone. A context that is destroyed in a process that did not make it sends
nothing, and the parent's connections go on undisturbed. Do not call C<stop_listening> in a
child: that would take away clients that are waiting for the parent. A child that was forked
in a callback may call C<exit>; the parent then answers what the callback was asked.

The child may make contexts of its own after it has called C<loop_fork> on the loop. This call
is needed because the child inherits the descriptor (of epoll or kqueue) on which libev
waits: without the call the two processes would take each other's events.

    defined(my $pid = fork) or die "fork: $!";
    if (!$pid) {
        EV::default_loop->loop_fork;
        ...
    }

The module starts threads for two purposes only. When C<connect> has to resolve a name, a
thread waits for the resolver, so that the loop does not have to. When more than four TLS
handshakes are in progress, threads do their calculations, as many threads as there are
processors. All signals are blocked in these threads. Your callbacks always run on the thread
that runs the loop. A program that connects to addresses, and never has more than four
handshakes at a time, has one thread.

With Perl's own threads, contexts, connections and all other objects of this module belong to the
thread that made them. What a new thread gets of them are copies that lead nowhere: their methods
croak as those of a destroyed object do.

=head1 SECURITY

=over

=item *

A listener without C<host> takes connections from the whole network. For clients on this machine
only, or behind a proxy on this machine, say C<< host => '127.0.0.1' >>.

=item *

Say C<< limits => 'public' >> for every listener that strangers can reach, and for every connection
to a server that is not yours: it sets all limits of L<EV::Websockets::Limits>. Then set those that
your protocol allows to be smaller.

=item *

Above all set C<max_message_size>. Choose the length of the longest message in your protocol: 64
KiB is enough for most protocols, and few need more than 1 MiB. Without the limit, a peer can send
a message as large as your memory. With compression the peer does not even have to send that much,
because a kilobyte can inflate to a megabyte. The limit applies to the inflated message, and it is
checked during inflation, so that such a bomb takes no more memory than the limit.

=item *

A compressed message that contains both a secret and text that an attacker can choose gives the
secret away by its length. This attack is known as CRIME. Send the secret and the text in
separate messages, or turn compression off. With context takeover separate messages do not
help, because each message can refer to earlier ones: turn compression off.

=item *

A client's request may have at most 16 KiB and 100 headers (C<max_header_size>,
C<max_headers>), and it must be complete within C<handshake_timeout>, which is 10 seconds by
default. After the handshake, a client that shows no sign of life is given up, see
L<EV::Websockets::Limits/CLOCKS>. If you expect many clients, limit the number of connections:
C<max_connections>.

=item *

Limit the send queue of a client that does not read, see
L<BACKPRESSURE|EV::Websockets::Connection/BACKPRESSURE>. The module itself limits the Pongs:
when a client sends Pings, does not read the Pongs, and 64 KiB of Pongs are waiting, the
module stops reading from this client, and cuts the connection 30 seconds later.

=item *

A browser sends your cookies with a WebSocket request from any page. A server that identifies
users by cookies must therefore say which pages may connect, with the option C<origins>: see
L<ORIGINS|EV::Websockets::Handshake/ORIGINS>.

=item *

The owner of another domain can make its name lead to your server, and then the pages of that
domain look like your own. Say with C<hosts> which names your server has. See
L<HOSTS|EV::Websockets::Handshake/HOSTS>.

=item *

The peer chooses what is in C<Path>, C<Query>, headers and messages. They can contain line ends
and control characters. Mind that when you print them to a log. Under C<perl -T> all text from a
peer is tainted, like text that perl itself reads from a socket: messages and Pongs, headers, the
request of C<on_request>, the reason of C<on_close>, and the text of C<on_error>.

=back

=head1 ENVIRONMENT

When C<new> is called without the option C<proxy>, it reads these variables. Their values have
the form of that option. A variable that is set to the empty string ends the search, and there
is no proxy.

=over

=item http_proxy, https_proxy, all_proxy

For C<ws://> URLs they are looked at in this order. For C<wss://> URLs, C<https_proxy> comes
first. C<HTTPS_PROXY> and C<ALL_PROXY> are read if the variable in lower case is not set.
C<HTTP_PROXY> is never read, because in a CGI program it holds a header of the request.

=item no_proxy

The hosts that are reached without the proxy; C<NO_PROXY> does the same. The value is a list of
names, addresses and networks (C<10.0.0.0/8>, C<fd00::/8>), separated by commas or blanks.
C<*> stands for every host. A name includes the names below it: both C<example.org> and
C<.example.org> include C<www.example.org>. An entry that ends in C<:port> is for that port only.

=back

The proxy variables never send C<localhost>, C<127.0.0.0/8> and C<::1> through a proxy. When the
value of a variable is not a proxy, each connection that needs the proxy fails: C<on_error> says
why.

C<EV_WEBSOCKETS_DEBUG> is described under L</DEBUGGING>.

=head1 SEE ALSO

L<EV>, the event loop. RFC 6455, the protocol: L<https://www.rfc-editor.org/rfc/rfc6455>.
RFC 7692, compression: L<https://www.rfc-editor.org/rfc/rfc7692>.

In the distribution, F<docs/ARCHITECTURE.md> says how the module is built,
F<docs/performance.md> how fast it is, and F<docs/conformance.md> how the protocol was tested.

=head1 LICENSE

This library is free software; you can redistribute it and/or modify it under
the same terms as Perl itself.

=cut
