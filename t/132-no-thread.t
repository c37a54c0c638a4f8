use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Events;
use POSIX ();
use Program;
use Run;
use Test::More;

# The system refuses the resolver its first thread: that ended the context, with every signal
# blocked from then on. It is an error of the one connection.
# Or it refuses the second one: that was an error too, with the runtime's own words on STDERR.

# The file runs itself again with limits of its own, which hold for no root.
my $limit = $ENV{EVWS_TEST_LIMIT};
if (!$limit) {
    plan(skip_all => 'needs a bash whose ulimit knows -u') if system('bash', '-c', 'ulimit -u 1') != 0;
    my $made = eval { require Certificates; Certificates->new };
    if ($made) {
        $made->ca('ca');
        $made->issue('server', issuer => 'ca');
        # Read by a user who may not be root.
        chmod 0755, "$made->{folder}";
        chmod 0644, $made->file('server.key');
        $ENV{EVWS_TEST_FOLDER} = "$made->{folder}";
    }
    for my $processes (1, 2) {
        local $ENV{EVWS_TEST_LIMIT} = $processes;
        my $out = ends_well("at most $processes", 60, $0);
        like($out, qr/^1\.\.(?:\d+$|0 # SKIP)/m, 'a whole run of tests');
        diag($out) if $out =~ /SKIP/;
    }
    finish();
    exit;
}
if (!$ENV{EVWS_TEST_LIMITED}) {
    $ENV{EVWS_TEST_LIMITED} = 1;
    my @perl = ($^X, (map { "-I$_" } @INC), $0);
    exec 'bash', '-c', "ulimit -u $limit; exec \"\$@\"", 'bash', @perl or die "cannot run bash: $!";
}
if ($> == 0) {
    POSIX::setgid(65534);
    POSIX::setuid(65534) or plan(skip_all => "root, and cannot be anybody else: $!");
}
# Forked children stay until they are waited for, and count.
my @forked;
while (@forked < $limit) {
    my $pid = fork;
    last if !defined $pid;
    POSIX::_exit(0) if !$pid;
    push @forked, $pid;
}
waitpid $_, 0 for @forked;
plan(skip_all => 'the limit does not hold here') if @forked == $limit;

my $events  = Events->new;
my $context = EV::Websockets::Context->new;
my $conn    = $context->connect(url => 'ws://localhost:9/', $events->handlers);
run_until(sub { @{ $events->log } }, 'decided');
is($events->order, 'error', 'one on_error');
like($events->last_of('error')->[0], qr/cannot resolve localhost: ./, 'that says what could not be done, and why');
is($conn->state, 'closed', 'closed');

my $blocked = POSIX::SigSet->new;
POSIX::sigprocmask(POSIX::SIG_BLOCK(), POSIX::SigSet->new, $blocked);
ok(!$blocked->ismember(POSIX::SIGTERM()), 'signals are delivered as before');

my $port = $context->listen(on_message => sub { $_[0]->send($_[1]) });
my $other = Events->new;
$context->connect(url => "ws://127.0.0.1:$port/", $other->handlers(on_connect => sub { $_[0]->send('fine') }));
run_until(sub { $other->count('message') }, 'the context goes on with addresses');

# What threads are to do of a crowd of TLS handshakes is done without them.
SKIP: {
    my $folder = $ENV{EVWS_TEST_FOLDER};
    skip 'no openssl', 2 if !$folder;
    my $crowd = 30;
    my ($echoed, @errors) = (0);
    my $secure = EV::Websockets::Context->new(ssl_ca => "$folder/ca.pem");
    my $port = $secure->listen(
        ssl_cert   => "$folder/server.pem",
        ssl_key    => "$folder/server.key",
        on_message => sub { $_[0]->send($_[1]) },
    );
    my @conns = map {
        $secure->connect(
            url        => "wss://127.0.0.1:$port",
            on_connect => sub { $_[0]->send('fine') },
            on_message => sub { $echoed++ },
            on_error   => sub { push @errors, $_[1] },
        );
    } 1 .. $crowd;
    run_until(sub { $echoed + @errors == $crowd }, 'a crowd is decided');
    is_deeply(\@errors, [], 'and all is fine');
}
finish();
