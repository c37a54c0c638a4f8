use strict;
use warnings;
use Errno ();
use FindBin;
use lib "$FindBin::Bin/lib";
use Cwd qw(getcwd);
use EV;
use EV::Websockets;
use Events;
use File::Temp qw(tempdir);
use IO::Socket::UNIX;
use Pair;
use POSIX ();
use Program;
use RawPeer;
use Run;
use Test::More;

# Unix sockets: ws+unix: URLs, listen(path => ...), and the file of the socket.

# Short: the path of a socket has room for about a hundred bytes.
my $dir  = tempdir('evwsXXXXXX', TMPDIR => 1, CLEANUP => 1);
my $path = "$dir/s";

sub errno { my ($number) = @_; local $! = $number; return "$!" }

sub connected {
    my ($name, $context, $url) = @_;
    my $events = Events->new;
    $events->{c} = $context->connect(url => $url, $events->handlers);
    run_until(sub { @{ $events->log } }, "$name: decided");
    return $events;
}

# A conversation.
{
    my $server = Events->new;
    my $context = EV::Websockets::Context->new;
    my %seen;
    my $port = $context->listen(path => $path, $server->handlers(
        on_connect => sub { $seen{headers} = $_[1]; $seen{address} = [ $_[0]->peer_address ] },
        on_message => sub { $_[0]->send_binary($_[1]) },
    ));
    is($port, 0, 'listen returns 0: there is no port');
    ok(-S $path, 'there is a socket');
    my $client = connected('a conversation', $context, "ws+unix:$path:/chat?room=1");
    is($client->order, 'connect', 'connected');
    is($client->{c}->peer_address, undef, 'the server has no address');
    run_until(sub { $server->count('connect') }, 'the server knows');
    is_deeply($seen{address}, [undef], 'nor has the client');
    is($seen{headers}{URI}, '/chat?room=1', 'what is behind the path is asked for');
    is($seen{headers}{Host}, 'localhost', 'the host is localhost');
    my $large = 'x' x 3_000_000;
    $client->{c}->send_binary($large);
    run_until(sub { $client->count('message') }, 'a large message comes back');
    ok(($client->messages)[0] eq $large, 'as it was');
    $client->{c}->close(1000, 'done');
    run_until(sub { $client->count('close') && $server->count('close') }, 'closed');
    is_deeply($server->last_of('close'), [ 1000, 'done' ], 'with code and reason');
    undef $context;
    ok(!-e $path, 'the file goes with the context');
}

# The forms of the URL; a proxy has no part in it.
{
    local $ENV{http_proxy} = 'http://127.0.0.1:9';
    my $odd = "$dir/a:b c";
    my $listening = Pair->listen(listen => { path => $odd }, context => { proxy => '127.0.0.1:9' });
    for my $case ([ "ws+unix:$dir/a%3ab%20c", '/' ], [ "WS+UNIX:$dir/a%3Ab%20c:", '/' ], [ "ws+unix:$dir/a%3Ab%20c:?q:1", '/?q:1' ]) {
        my ($url, $target) = @$case;
        my $client = connected($url, $listening->context, $url);
        is($client->order, 'connect', "$url: connected");
    }
    my $here = getcwd();
    chdir $dir or die "chdir: $!";
    my $relative = Pair->listen(listen => { path => 'r' });
    is(connected('a relative path', $relative->context, 'ws+unix:r')->order, 'connect', 'a relative path');
    chdir $here or die "chdir: $!";
    undef $relative;
    ok(!-e "$dir/r", 'its file is removed from another directory too');
}

# Permissions.
for my $mode (0600, 0666, 0) {
    my $umask = umask 077;
    my $context = EV::Websockets::Context->new;
    $context->listen(path => $path, mode => $mode);
    umask $umask;
    is((stat $path)[2] & 07777, $mode, sprintf 'mode %#o', $mode);
}
{
    my $umask = umask 027;
    my $context = EV::Websockets::Context->new;
    $context->listen(path => $path);
    umask $umask;
    is((stat $path)[2] & 07777, 0750, 'without one, the umask decides');
}

# What was there before.
{
    my $context = EV::Websockets::Context->new;
    my $failed = "listen: failed to bind path '$path': ";
    my $in_use = errno(Errno::EADDRINUSE());

    my $other = IO::Socket::UNIX->new(Local => $path, Listen => 1) or die "cannot listen: $!";
    croaks_like { $context->listen(path => $path) } qr/\A\Q$failed$in_use\E/, 'somebody listens there';
    ok(-S $path, 'the socket is left alone');
    close $other;
    ok(-S $path, 'nobody listens any more, the file has stayed');
    $context->listen(path => $path);
    is(connected('a stale socket', $context, "ws+unix:$path")->order, 'connect', 'a stale socket is replaced');
    croaks_like { $context->listen(path => $path) } qr/\A\Q$failed$in_use\E/, 'nor is our own taken twice';
    is(connected('after that', $context, "ws+unix:$path")->order, 'connect', 'it goes on listening');
    undef $context;
    ok(!-e $path, 'the file is gone');

    open my $file, '>', $path or die "open: $!";
    print {$file} 'precious';
    close $file;
    $context = EV::Websockets::Context->new;
    croaks_like { $context->listen(path => $path) } qr/\A\Q$failed\Ethe file exists and is not a socket/, 'a file that is no socket';
    is(-s $path, 8, 'is left alone');
    unlink $path;
    mkdir $path;
    croaks_like { $context->listen(path => $path) } qr/\A\Q$failed\E.*not a socket/, 'a directory';
    rmdir $path;
    symlink "$dir/nowhere", $path;
    croaks_like { $context->listen(path => $path) } qr/\A\Q$failed\E.*not a socket/, 'a symbolic link';
    unlink $path;
    croaks_like { $context->listen(path => "$dir/none/s") } qr/\Alisten: failed to bind path '\Q$dir\E\/none\/s': \Q${\ errno(Errno::ENOENT()) }\E/,
        'a directory that is not there';
}

# A file that another has put in its place is not ours to remove.
{
    my $context = EV::Websockets::Context->new;
    $context->listen(path => $path);
    unlink $path;
    my $other = IO::Socket::UNIX->new(Local => $path, Listen => 1) or die "cannot listen: $!";
    undef $context;
    ok(-S $path, 'the socket of another stays');
    unlink $path;
}

# A forked child leaves the file alone, however it ends.
for my $how ('drops the context', 'exits') {
    my $context = EV::Websockets::Context->new;
    $context->listen(path => $path);
    my $pid = fork;
    die "fork: $!" if !defined $pid;
    if (!$pid) {
        Test::More->builder->no_ending(1);
        exit 0 if $how eq 'exits';
        undef $context;
        POSIX::_exit(0);
    }
    waitpid $pid, 0;
    ok(-S $path, "a child that $how leaves the file alone");
    is(connected("after a child that $how", $context, "ws+unix:$path")->order, 'connect', 'and the parent goes on');
}
ok(!-e $path, 'the parent removes it');

# A program that ends with the context still in a variable.
for my $variable ('my $ctx', 'our $ctx') {
    my $program = "$dir/program.pl";
    open my $file, '>', $program or die "open: $!";
    print {$file} 'use EV; use EV::Websockets;', "$variable = EV::Websockets::Context->new;",
        '$ctx->listen(path => $ARGV[0]); print -S $ARGV[0] ? "there" : "missing"; sub { $ctx }';
    close $file;
    is(ends_well($variable, 60, $program, $path), 'there', "$variable: there is a socket");
    ok(!-e $path, "$variable: and none when the program has ended");
}

# Connections that cannot be made.
{
    my $context = EV::Websockets::Context->new;
    my $client = connected('no socket', $context, "ws+unix:$path");
    is($client->last_of('error')->[0], "connect to $path: " . errno(Errno::ENOENT()), 'no socket: the text');
    { my $stale = IO::Socket::UNIX->new(Local => $path, Listen => 1) }
    $client = connected('a stale socket', $context, "ws+unix:$path");
    like($client->last_of('error')->[0], qr/\Aconnect to \Q$path\E: \Q${\ errno(Errno::ECONNREFUSED()) }\E/, 'a stale socket: the text');
    unlink $path;
    my $deaf = IO::Socket::UNIX->new(Local => $path, Listen => 1) or die "cannot listen: $!";
    my $events = Events->new;
    $context->connect(url => "ws+unix:$path", connect_timeout => 0.1, $events->handlers);
    run_unticked(sub { @{ $events->log } }, 'nobody accepts');
    is($events->last_of('error')->[0], 'connect timeout', 'nobody accepts: the deadline');
    unlink $path;
}

# Bad options.
{
    my $context = EV::Websockets::Context->new;
    my $long = "$dir/" . 'x' x 200;
    my $length = length $long;
    my $most = qr/must not have more than \d+ bytes \(got $length\) at \Q$0\E/;
    croaks_like { $context->listen(path => $long) } qr/\Alisten: path $most/, 'listen: a path that is too long';
    croaks_like { $context->connect(url => "ws+unix:$long:/") } qr/\Aconnect: the socket path in url $most/, 'connect: a path that is too long';
    croaks_with { $context->connect(url => 'ws+unix:') } 'connect: the socket path in url must not be empty', 'connect: no path';
    croaks_with { $context->connect(url => 'ws+unix:/a%00b') } 'connect: the socket path in url must not contain NUL', 'connect: NUL';
    croaks_with { $context->connect(url => "ws+unix:/a:/\r\nX: y") } 'connect: url contains CR, LF or NUL', 'connect: a line break';
    croaks_with { $context->connect(url => 'wss+unix:/a') } 'URL must start with ws:// or wss://', 'connect: wss+unix';
    croaks_with { $context->listen(path => '') } 'listen: path must not be empty', 'listen: no path';
    croaks_with { $context->listen(path => "a\0b") } 'listen: path must not contain NUL', 'listen: NUL';
    croaks_with { $context->listen(path => undef) } "listen: option 'path' must be a defined string", 'listen: path => undef';
    croaks_with { $context->listen(path => $path, port => 0) } 'listen: give either port or path', 'listen: both';
    croaks_with { $context->listen(mode => 0600) } 'listen: mode is for a path', 'listen: mode without a path';
    croaks_with { $context->listen(path => $path, mode => $_) }
        "listen: mode must be a number from 0 to 0777, such as 0600 (got '$_')", "listen: mode => '$_'"
        for '0600', 600, -1, 1.5, 'rw', 01777;
    ok(!-e $path, 'none of them leaves a file');
}

finish();
