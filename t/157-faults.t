use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Errno ();
use Faults qw(faults_library);
use File::Spec;
use File::Temp;
use Program;
use Run;
use Test::More;

# System calls that fail as they do on a bad day: interrupted, refused, moving fewer bytes than they could, out of
# memory or descriptors. Whatever a plan says (t/lib/faults.c), each message arrives once or its connection ends and
# says so, nothing spins, and nothing is left open.

plan skip_all => 'system calls are made to fail on Linux only' if $^O ne 'linux';

my $folder  = File::Temp->newdir;
my $library = faults_library($folder);
my $null    = File::Spec->devnull;
system("cd '$folder' && openssl req -x509 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    . " -newkey ec -pkeyopt ec_paramgen_curve:P-256 -keyout key.pem -out cert.pem >$null 2>&1") == 0
    or note 'no openssl, so no TLS';
my $kinds = -e "$folder/cert.pem" ? 4 : 3;

# What a plan may lead to: "whole", every message arrives and every connection is closed in order; "may_break",
# connections may end with an error.
my ($EACH, $MESSAGES) = (2, 20);
my @plans = (
    ['whole', ''],
    # A signal comes at the worst moment.
    (map { ['whole', "$_=EINTR/2"] } qw(accept4 recv recvmsg send sendmsg connect read close)),
    # A thread that has found a name wakes the loop with a write. It was interrupted, and the loop slept on.
    ['whole', 'write=EINTR/^4'],
    ['whole', 'recv=EINTR/2,recvmsg=EINTR/2,send=EINTR/2,sendmsg=EINTR/2,accept4=EINTR/3,read=EINTR/2'],
    # Ready, but then it is not.
    (map { ['whole', "$_=EAGAIN/2"] } qw(accept4 recv recvmsg send sendmsg read)),
    ['whole', 'recv=EAGAIN/3,recvmsg=EAGAIN/3,send=EAGAIN/3,sendmsg=EAGAIN/3'],
    # What ends a TLS stream is the last that is sent, and alone: it meets one of these.
    ['whole', 'send=EAGAIN/4'],
    # Few bytes at a time.
    (map { ['whole', "$_=short/2"] } qw(recv recvmsg send sendmsg)),
    ['whole', 'recv=short/2,recvmsg=short/3,send=short/3,sendmsg=short/2'],
    ['whole', 'recv=short/2,recvmsg=EAGAIN/3,send=EINTR/3,sendmsg=short/3'],
    # The peer is gone, or its network is. What could not be written was thrown away, and the connection stood for ever: the
    # stream had not ended for those who read it.
    (map { ['may_break', "$_=ECONNRESET/40"] } qw(recv recvmsg send sendmsg)),
    (map { ['may_break', "$_=ETIMEDOUT/40"] } qw(recv send)),
    ['may_break', 'send=EPIPE/30,sendmsg=EPIPE/30'],
    ['may_break', 'connect=ETIMEDOUT/3'],
    ['may_break', 'accept4=ECONNABORTED/3'],
    ['may_break', 'getsockopt=ECONNRESET/3'],
    # The system has nothing left.
    (map { ['may_break', "$_=ENOMEM/40"] } qw(recv recvmsg send sendmsg)),
    (map { ['may_break', "$_=ENOBUFS/40"] } qw(send sendmsg)),
    (map { ['whole', "accept4=$_/2"] } qw(EMFILE ENFILE ENOBUFS ENOMEM)),
    ['may_break', 'socket=EMFILE/3'],
    ['may_break', 'connect=ENOBUFS/3'],
    ['may_break', 'connect=EAGAIN/3'],
    ['may_break', 'fcntl=ENOMEM/3,eventfd=EMFILE/2'],
    ['may_break', 'setsockopt=ENOBUFS/2,getsockname=ENOBUFS/3,getpeername=ENOBUFS/2,shutdown=ENOBUFS/2'],
    ['may_break', 'bind=ENOMEM/2,listen=ENOMEM/2'],
    ['may_break', 'pthread_create=EAGAIN/2'],
    (map { ['may_break', "getaddrinfo=$_/2"] } qw(EAGAIN ENOMEM EINTR)),
    ['may_break', 'all=ENOMEM/60'],
    ['may_break', 'all=EMFILE/25'],
    ['may_break', 'all=ECONNRESET/100'],
);
@plans = map { ['may_break', $_] } @ARGV if @ARGV;

my $seed = $ENV{EVWS_FAULTS_SEED} || 1;
my ($seconds, %injected) = (0);
for my $plan (@plans) {
    my ($outcome, $faults) = @$plan;
    subtest $faults || 'no fault' => sub { try($outcome, $faults) };
}
note sprintf '%.1f s of CPU', $seconds;

# One message for many: of a topic with a history everyone gets each message, whatever breaks.
for my $plan (@ARGV ? () : (
    ['whole', ''],
    (map { ['whole', $_] } 'send=EINTR/2,sendmsg=EINTR/2', 'send=EAGAIN/2', 'sendmsg=EAGAIN/2', 'send=short/2', 'sendmsg=short/2',
        'send=short/2,sendmsg=short/2,recv=short/3', 'send=EAGAIN/3,sendmsg=short/3'),
    (map { ['may_break', "send=$_/200,sendmsg=$_/200"] } qw(EPIPE ECONNRESET ENOBUFS ENOMEM ETIMEDOUT)),
    ['may_break', 'sendmsg=EPIPE/50'], ['may_break', 'sendmsg=ECONNRESET/300,send=short/3'], ['may_break', 'recv=ECONNRESET/200,recvmsg=ECONNRESET/200'],
    ['may_break', 'all=ENOMEM/300'],
)) {
    my ($outcome, $faults) = @$plan;
    subtest "published: " . ($faults || 'no fault') => sub { publish($outcome, $faults) };
}

# A listener that is stopped takes those who wait already. It took a batch in which an accept had failed for the last.
if (!@ARGV) {
    local @ENV{qw(LD_PRELOAD EVWS_FAULTS EVWS_FAULTS_SEED)} = ($library, 'accept4=ECONNABORTED/2', $seed);
    my $run = run_program(60, '-MFaultyTalk', '-e', 'FaultyTalk::stop(100)');
    is("$run->{out}$run->{err}", "served 100\n", 'a stopped listener serves all who waited');
}

# The bug: a listener whose port the system did not tell was at port 0, and nobody heard of the error.
if (!@ARGV) {
    local @ENV{qw(LD_PRELOAD EVWS_FAULTS EVWS_FAULTS_SEED)} = ($library, 'getsockname=ENOBUFS/^1', $seed);
    my $run = run_program(60, '-MEV', '-MEV::Websockets', '-e',
        'my $c = EV::Websockets::Context->new; print eval { $c->listen(host => "127.0.0.1") } ? "a port\n" : $@ for 1, 2');
    my $words = do { local $! = Errno::ENOBUFS(); "$!" };
    like($run->{out}, qr/\Alisten: .*: \Q$words\E at -e line 1\.\na port\n\z/, 'listen croaks if the system does not tell the port');
}

# The first thing that a client sends cannot be written, and the stream has not ended. It was read on, in case its server had
# refused early, until connect_timeout was over.
for my $error (@ARGV ? () : qw(ENOMEM ENOBUFS)) {
    my $words = do { local $! = $error eq 'ENOMEM' ? Errno::ENOMEM() : Errno::ENOBUFS(); "$!" };
    for my $way (qw(plain tls http socks5)) {
        local @ENV{qw(LD_PRELOAD EVWS_FAULTS EVWS_FAULTS_SEED)} = ($library, "send=$error/^1", $seed);
        my $run = run_program(60, '-MFaultyTalk', '-e', 'FaultyTalk::ask(@ARGV)', $way);
        like($run->{out}, qr/\A$way: .*: \Q$words\E\n\z/, "a request that cannot be written for $error: $way");
        is($run->{err}, '', 'nothing on STDERR');
    }
}

# A pool of threads tries whether one is to be had, and the system refused it the next: tokio's words were on STDERR.
for my $plan (@ARGV ? () : ('pthread_create=EAGAIN/^1', 'pthread_create=EAGAIN/2')) {
    for my $seed (1 .. 8) {
        local @ENV{qw(LD_PRELOAD EVWS_FAULTS EVWS_FAULTS_SEED)} = ($library, $plan, $seed);
        my $run = run_program(60, '-MFaultyTalk', '-e', 'FaultyTalk::ask(@ARGV)', 'name');
        like($run->{out}, qr/\Aname: .+\n\z/, "$plan, seed $seed: a name is looked up, or the error says why not");
        is($run->{err}, '', 'nothing on STDERR');
        last if $plan =~ /\^/;
    }
}

# A fault that never came shows nothing. Which calls there are depends on the build, so this asks for the large ones only.
if (!@ARGV) {
    ok($injected{$_}, "$_ has failed") for qw(accept4 recv recvmsg send sendmsg connect socket close fcntl);
}

finish();

# Runs a program, which ends and finds nothing wrong; the figures that it prints.
sub run_well {
    my @program = @_;
    alarm 0;
    my $run = run_program(60, @program);
    alarm 170;
    my %got = $run->{out} =~ /^(\w+) ([\d.]+)$/mg;
    ok(!$run->{timed_out}, 'it ends');
    is($run->{status}, 0, 'with status 0');
    is($run->{err}, '', 'nothing on STDERR');
    is(join('', grep { /\Awrong/ } $run->{out} =~ /^(.*\n)/mg), '', 'nothing is wrong');
    return %got;
}

sub try {
    my ($outcome, $faults) = @_;
    unlink "$folder/report";
    local @ENV{qw(LD_PRELOAD EVWS_FAULTS EVWS_FAULTS_SEED EVWS_FAULTS_REPORT)} = ($library, $faults, $seed, "$folder/report");
    my %got = run_well('-MFaultyTalk', '-e', 'FaultyTalk::run(\@ARGV)', $EACH, $MESSAGES, "$folder");
    my %calls;
    if (open my $in, '<', "$folder/report") {
        while (<$in>) {
            my ($call, $seen, $failed) = split;
            $calls{$call} = $seen;
            $injected{$call} += $failed;
        }
    }
    my $clients = $EACH * $kinds;
    if ($outcome eq 'whole') {
        is($got{whole}, $clients, 'every connection was closed in order');
        is($got{echoes}, $clients * $MESSAGES, 'and every message came back');
    }
    # Without a fault it takes some hundreds of turns, and some thousands of calls.
    my $total = 0;
    $total += $_ for values %calls;
    cmp_ok($got{turns} || 0, '<', 20_000, 'turns of the loop');
    cmp_ok($total, '>', 0, 'system calls were seen');
    cmp_ok($total, '<', 500_000, 'and not too many');
    $seconds += $got{seconds} || 0;
    note join ' ', map { "$_=$got{$_}" } sort keys %got;
    note join ' ', map { "$_=$calls{$_}" } grep { $calls{$_} } sort keys %calls;
    return;
}

sub publish {
    my ($outcome, $faults) = @_;
    my ($subscribers, $messages) = (12, 60);
    local @ENV{qw(LD_PRELOAD EVWS_FAULTS EVWS_FAULTS_SEED)} = ($library, $faults, $seed);
    my %got = run_well('-MFaultyFanout', '-e', 'FaultyFanout::run(@ARGV)', $subscribers, $messages);
    is($got{whole}, $subscribers, 'everyone has got to the end');
    is($got{kept}, $subscribers * $messages, 'with every message, once');
    is($got{broken} + $got{refused}, 0, 'nobody had to come back') if $outcome eq 'whole';
    cmp_ok($got{turns} || 0, '<', 30_000, 'turns of the loop');
    note join ' ', map { "$_=$got{$_}" } sort keys %got;
    return;
}
