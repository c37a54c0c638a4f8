use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Cwd qw(getcwd);
use EV;
use EV::Websockets;
use Errno qw(EADDRINUSE EADDRNOTAVAIL EBADF);
use Events;
use Fcntl qw(F_GETFL O_NONBLOCK);
use File::Temp qw(tempdir);
use IO::Socket::INET;
use IO::Socket::UNIX;
use POSIX ();
use Program;
use RawPeer;
use Run;
use Socket qw(SOCK_DGRAM SOCK_STREAM SOL_SOCKET SO_REUSEPORT);
use Test::More;

# Where listen listens: host, backlog, reuse_port, fd; and what listeners tells about it.

my $has_ipv6 = eval { require IO::Socket::IP; IO::Socket::IP->new(LocalHost => '::1', LocalPort => 0, Listen => 1) };
# Elsewhere than on Linux, 127.0.0.1 is often the only one of its network.
my $has_second = IO::Socket::INET->new(LocalAddr => '127.0.0.2', LocalPort => 0, Listen => 1);
my $dir = tempdir('evwsXXXXXX', TMPDIR => 1, CLEANUP => 1);

sub errno { my ($number) = @_; local $! = $number; return "$!" }

sub served {
    my ($port, $host, $name) = @_;
    my $peer = RawPeer->connect($port, host => $host)->upgrade;
    run_until(sub { $peer->head }, "$name: answered at $host");
    is($peer->status, 101, "$name: with 101");
}

# Whether anybody takes connections there.
sub takes {
    my ($host, $port) = @_;
    return !!($host =~ /:/
        ? IO::Socket::IP->new(PeerHost => $host, PeerPort => $port)
        : IO::Socket::INET->new(PeerAddr => $host, PeerPort => $port));
}

# Whether a listener takes connections there, too. Another program may have its port at that address, and did once; hardly
# those of three.
sub takes_too {
    my ($host, @options) = @_;
    my $context = EV::Websockets::Context->new;
    return !grep { !takes($host, $context->listen(@options)) } 1 .. 3;
}

# One address, and no other.
{
    my $context = EV::Websockets::Context->new;
    my $port = $context->listen(host => '127.0.0.1', name => 'here');
    served($port, '127.0.0.1', 'one address');
    ok(!takes_too('127.0.0.2', host => '127.0.0.1'), 'another address of the machine is not listened at') if $has_second;
    ok(!takes_too('::1', host => '127.0.0.1'), 'nor is IPv6') if $has_ipv6;
    is_deeply([ $context->listeners ],
        [ { name => 'here', port => $port, hosts => ['127.0.0.1'], path => undef, tls => 0 } ], 'listeners says so');
}

# Several, in either form, have one port, also when it is any free one.
my @several = ([ '127.0.0.1', '127.0.0.2' ], '127.0.0.1, 127.0.0.2', [ '127.0.0.1', '127.0.0.2', '127.0.0.1' ]);
for my $hosts ($has_second ? @several : ()) {
    my $context = EV::Websockets::Context->new;
    my $port = $context->listen(host => $hosts);
    served($port, $_, 'several') for '127.0.0.1', '127.0.0.2';
    my ($listener) = $context->listeners;
    is_deeply($listener->{hosts}, [ '127.0.0.1', '127.0.0.2' ], 'each once');
}

# Names, which here are in the table of hosts.
{
    my $context = EV::Websockets::Context->new;
    my $port = $context->listen(host => 'localhost');
    my ($listener) = $context->listeners;
    ok((grep { $_ eq '127.0.0.1' } @{ $listener->{hosts} }), 'localhost is 127.0.0.1, among others');
    served($port, $_, 'localhost') for @{ $listener->{hosts} };
}

SKIP: {
    skip 'no IPv6 loopback here', 10 if !$has_ipv6;
    my $context = EV::Websockets::Context->new;
    for my $host ('::1', '[::1]', '::1%lo') {
        my $port = eval { $context->listen(host => $host) };
        skip 'no interface lo here', 4 if $host =~ /%/ && !defined $port;
        served($port, '::1', $host);
        ok(!takes_too('127.0.0.1', host => $host), "$host: IPv6 only");
    }
    my $port = $context->listen(host => [ '0.0.0.0', '::' ]);
    served($port, $_, 'both families') for '127.0.0.1', '::1';
}

# Without host: everything, as listeners tells.
{
    my $context = EV::Websockets::Context->new;
    $context->listen;
    my ($listener) = $context->listeners;
    is_deeply([ sort @{ $listener->{hosts} } ], $has_ipv6 ? [ '0.0.0.0', '::' ] : ['0.0.0.0'], 'all addresses');
    is($listener->{name}, 'server', 'the default name');
}

# backlog: beyond it, connections wait with the client.
SKIP: {
    skip 'other systems have other bounds', 2 if $^O ne 'linux';
    my $context = EV::Websockets::Context->new;
    my $path = "$dir/narrow";
    $context->listen(path => $path, backlog => 1);
    my (@clients, $refused);
    while (!$refused && @clients < 50) {
        my $client = IO::Socket::UNIX->new(Type => SOCK_STREAM) or die "socket: $!";
        $client->blocking(0);
        $refused = !CORE::connect($client, Socket::pack_sockaddr_un($path)) && $!{EAGAIN};
        push @clients, $client;
    }
    ok($refused, 'a Unix socket with a small backlog is full soon');
    cmp_ok(scalar @clients, '<', 10, 'after a few');
}

# reuse_port: two contexts at one port, and none that does not say so.
SKIP: {
    skip 'no SO_REUSEPORT here', 8 if !defined eval { SO_REUSEPORT() };
    my @contexts = map { EV::Websockets::Context->new } 1 .. 2;
    my @accepted = (0, 0);
    my $port = $contexts[0]->listen(host => '127.0.0.1', reuse_port => 1, on_connect => sub { $accepted[0]++ });
    is($contexts[1]->listen(host => '127.0.0.1', port => $port, reuse_port => 1, on_connect => sub { $accepted[1]++ }),
        $port, 'the same port again');
    my @peers;
    while ($^O eq 'linux' && @peers < 200 && grep { !$_ } @accepted) {
        push @peers, RawPeer->connect($port)->upgrade;
        wait_until(sub { $peers[-1]->head });
        wait_until(sub { $accepted[0] + $accepted[1] == @peers });
    }
    ok($accepted[0] && $accepted[1], 'connections are spread over both') if $^O eq 'linux';
    my $in_use = errno(EADDRINUSE);
    croaks_like { EV::Websockets::Context->new->listen(host => '127.0.0.1', port => $port) }
        qr/\Alisten: failed to bind host '127\.0\.0\.1', port $port: .*\Q$in_use\E.* at \Q$0\E line/,
        'without reuse_port it is taken';
    undef $contexts[0];
    served($port, '127.0.0.1', 'the other goes on') for 1 .. 3;
}

# fd: a handle or a number, TCP or Unix. It is duplicated.
{
    my $mine = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Listen => 5) or die "listen: $!";
    for my $fd ($mine, fileno $mine, \*{$mine}) {
        my $context = EV::Websockets::Context->new;
        my $events = Events->new;
        is($context->listen(fd => $fd, $events->handlers), $mine->sockport, 'the port is read from it');
        served($mine->sockport, '127.0.0.1', ref $fd || 'a number');
        my ($listener) = $context->listeners;
        is_deeply($listener->{hosts}, ['127.0.0.1'], 'and the address');
        undef $context;
        ok(takes('127.0.0.1', $mine->sockport), 'the socket is open still when the context is gone');
    }
    ok(fcntl($mine, F_GETFL, 0) & O_NONBLOCK, 'it does not block any more');

    my $unix = IO::Socket::UNIX->new(Local => "$dir/theirs", Listen => 5) or die "listen: $!";
    {
        my $context = EV::Websockets::Context->new;
        my $client  = Events->new;
        is($context->listen(fd => $unix), 0, 'a Unix socket has no port');
        is(($context->listeners)[0]{path}, "$dir/theirs", 'but a path');
        $context->connect(url => "ws+unix:$dir/theirs", $client->handlers);
        run_until(sub { @{ $client->log } }, 'a client of the Unix socket');
        is($client->order, 'connect', 'is connected');
    }
    ok(-S "$dir/theirs", 'the file is theirs, and stays');
}

# As systemd passes sockets: descriptors from 3 on, told by the environment.
{
    my $mine = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Listen => 5) or die "listen: $!";
    my $program = "$dir/activated.pl";
    open my $out, '>', $program or die "open: $!";
    print $out <<'PROGRAM';
use strict;
use warnings;
use EV;
use EV::Websockets;

my $ctx = EV::Websockets::Context->new;
die "nothing was passed\n" unless ($ENV{LISTEN_PID} || 0) == $$;
for my $fd (3 .. 2 + $ENV{LISTEN_FDS}) {
    my $port = $ctx->listen(fd => $fd, on_message => sub { $_[0]->send("$$: $_[1]") }, on_close => sub { EV::break });
    print "listening at $port\n";
}
EV::run;
PROGRAM
    close $out;
    my $pid = fork;
    die "fork: $!" unless defined $pid;
    if (!$pid) {
        $SIG{__WARN__} = 'DEFAULT';
        POSIX::dup2(fileno $mine, 3);
        open STDOUT, '>', "$dir/activated.out";
        $ENV{LISTEN_PID} = $$;
        $ENV{LISTEN_FDS} = 1;
        exec $^X, (map { "-I$_" } @INC), $program or POSIX::_exit(127);
    }
    my $peer = RawPeer->connect($mine->sockport)->upgrade;
    run_until(sub { $peer->head }, 'a program that was given its socket answers');
    $peer->send_frame(1, 'hello');
    run_until(sub { $peer->frames_of(1) }, 'a message comes back');
    is(($peer->frames_of(1))[0]{payload}, "$pid: hello", 'from that program');
    $peer->send_close(1000);
    waitpid $pid, 0;
    is($?, 0, 'it ends well');
}

# What cannot be.
my $context = EV::Websockets::Context->new;
my $absent  = errno(EADDRNOTAVAIL);
croaks_with { $context->listen(host => undef) } "listen: option 'host' must be a defined string", 'host => undef';
croaks_with { $context->listen(host => $_->[0]) } $_->[1], 'host: ' . $_->[1]
    for ['', 'listen: host must name at least one address'], [[], 'listen: host must name at least one address'],
    [ ['127.0.0.1', ''], 'listen: host must not be empty' ], [ [undef], 'listen: host number 1 must be a string' ],
    [ '127.0.0.1%lo', "listen: host '127.0.0.1%lo': only an IPv6 address has a zone behind '%'" ],
    [ 'fe80::1%nowhere', "listen: host 'fe80::1%nowhere': there is no such interface" ];
croaks_like { $context->listen(host => {}) } qr/\Alisten: host must be a string \(got 'HASH/, 'host => {}';
croaks_like { $context->listen(host => 'no such name.invalid') }
    qr/\Alisten: host 'no such name\.invalid': .* at \Q$0\E line/, 'a name that is none';
croaks_like { $context->listen(host => "127.0.0.1\0", port => 0) } qr/\Alisten: host '127\.0\.0\.1\\0': /, 'NUL';
croaks_like { $context->listen(host => [ '127.0.0.1', '192.0.2.1' ]) }
    qr/\Alisten: failed to bind host '192\.0\.2\.1', port \d+: \Q$absent\E/, 'an address of another machine';

croaks_with { $context->listen(backlog => $_->[0]) } $_->[1], "backlog: $_->[1]"
    for [ -1, "listen: backlog must be a whole number from 0 to 2147483647 (got '-1')" ],
    [ 'many', "listen: backlog must be a whole number from 0 to 2147483647 (got 'many')" ];

croaks_with { $context->listen($_->[0] => 1, path => "$dir/x") } "listen: give either $_->[0] or path", "$_->[0] and path"
    for map { [$_] } qw(port host reuse_port);
croaks_with { $context->listen(fd => 0, $_ => 1) } "listen: give either $_ or fd", "$_ and fd"
    for qw(port host reuse_port backlog path);
ok(!-e "$dir/x", 'nothing was made');

my $form = 'listen: fd must be an open file handle or the number of a descriptor';
croaks_with { $context->listen(fd => $_) } "$form (got '" . (defined $_ ? $_ : 'undef') . "')",
    'fd => ' . (defined $_ ? $_ : 'undef') for undef, -1, 1.5, 'socket', '';
croaks_like { $context->listen(fd => $_) } qr/\A\Q$form\E \(got '(?:ARRAY|HASH)/, 'fd => ' . ref for [], {};
{
    my $closed = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1);
    close $closed;
    croaks_like { $context->listen(fd => $closed) } qr/\A\Q$form\E/, 'a closed handle';
    my $bad = errno(EBADF);
    croaks_like { $context->listen(fd => 4000) } qr/\Alisten: fd 4000 cannot be used: \Q$bad\E/, 'no descriptor';
    open my $file, '<', $0 or die "open: $!";
    my $number = fileno $file;
    croaks_with { $context->listen(fd => $file) } "listen: fd $number cannot be used: it is no socket", 'a file';
    my $udp = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Proto => 'udp') or die "socket: $!";
    $number = fileno $udp;
    croaks_with { $context->listen(fd => $udp) } "listen: fd $number cannot be used: it is no stream socket", 'UDP';
    my $server = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1);
    my $tcp = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $server->sockport) or die "connect: $!";
    $number = fileno $tcp;
    croaks_with { $context->listen(fd => $tcp) } "listen: fd $number cannot be used: the socket does not listen",
        'a connection';
}
is_deeply([ $context->listeners ], [], 'a croak leaves no listener behind');
EV::run();
pass('nor anything that keeps the loop alive');
undef $context;

finish();
