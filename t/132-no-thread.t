use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Certificates;
use EV;
use EV::Websockets;
use Events;
use POSIX ();
use Program;
use Run;
use Test::More;

# The system refuses the resolver its first thread: that ended the context, with every signal
# blocked from then on. It is an error of the one connection.
# Or it refuses the second one: that was an error too, with the runtime's own words on STDERR. The one
# thread does for all names, and TLS handshakes go without.
# And of a crowd of TLS handshakes one was lost with it: its connection came to nothing, silently.

# The file runs itself again with limits of its own, which hold for no root.
my $limit = $ENV{EVWS_TEST_LIMIT};
if (!$limit) {
    plan(skip_all => 'needs a bash whose ulimit knows -u') if system('bash', '-c', 'ulimit -u 1') != 0;
    my $certificates = Certificates->new;
    $certificates->issue('self', issuer => 'self');
    $ENV{EVWS_TEST_SELF} = $certificates->file('self');
    # The ones below are nobody's.
    chmod 0755, $certificates->file('.');
    chmod 0644, map { $certificates->file("self.$_") } qw(pem key);
    for my $processes (1, 2, 3) {
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

my $context = EV::Websockets::Context->new;
my $why     = $limit == 1 ? qr/\Acannot resolve localhost: ./ : qr/\Acannot connect to localhost: ./;
my @events  = map { Events->new } 1 .. 20;
my @conns   = map { $context->connect(url => 'ws://localhost:9/', $_->handlers) } @events;
run_until(sub { !grep { !@{ $_->log } } @events }, 'decided');
is_deeply([ map { $_->order } @events ], [ ('error') x @events ], 'one on_error each');
is_deeply([ grep { $_->last_of('error')->[0] !~ $why } @events ], [], 'that says what could not be done, and why');
is_deeply([ grep { $_->state ne 'closed' } @conns ], [], 'closed');

my $blocked = POSIX::SigSet->new;
POSIX::sigprocmask(POSIX::SIG_BLOCK(), POSIX::SigSet->new, $blocked);
ok(!$blocked->ismember(POSIX::SIGTERM()), 'signals are delivered as before');

my $port = $context->listen(on_message => sub { $_[0]->send($_[1]) });
my $other = Events->new;
$context->connect(url => "ws://127.0.0.1:$port/", $other->handlers(on_connect => sub { $_[0]->send('fine') }));
run_until(sub { $other->count('message') }, 'the context goes on with addresses');

my ($cert, $key) = map { "$ENV{EVWS_TEST_SELF}.$_" } qw(pem key);
my $secure = $context->listen(ssl_cert => $cert, ssl_key => $key);
my @crowd  = map { Events->new } 1 .. 40;
$context->connect(url => "wss://127.0.0.1:$secure/", ssl_ca => $cert, $_->handlers) for @crowd;
run_until(sub { !grep { !@{ $_->log } } @crowd }, 'a crowd of handshakes ends');
is_deeply([ map { $_->order } @crowd ], [ ('connect') x @crowd ], 'all are connected');
finish();
