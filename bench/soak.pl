#!/usr/bin/perl
# Connections of every kind, for as long as one likes: text, binary, large and fragmented messages, deflate, TLS, aborts,
# reconnects, slow readers. Each message has a number and a text that follows from it, and both ends check what they get:
# none is lost, none comes twice, none is another. Clients and server are two processes; each counts its descriptors, its
# memory and its Perl values when everybody has gone, after a time to warm up and at the end, and they must be the
# same. Called by script/soak; exits with 1 if something is not as it must be.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Certificate;
use Getopt::Long;
use Heap;
use IO::Handle;
use List::Util qw(max min sum);
use Measure qw(all_descriptors clocks line rss whole);
use Socket qw(AF_UNIX SOCK_STREAM PF_UNSPEC);

# What growing is allowed between the two measurements. What VmRSS has beyond the heap in use was freed, and is kept by
# malloc and by perl's arenas: that depends on the highest load there was, so its bound is a wide one.
my %ALLOWED = (heap => [0.02, 1024], rss => [0.3, 16_384]);    # as a share of the first, and KiB
my $VALUES  = 200;
my $PATIENCE = 60;      # seconds without progress
# A machine that is slow, or busy with something else, is no mistake of ours.
my @PATIENT = map { ($_ => $PATIENCE) } qw(handshake_timeout pong_timeout close_timeout);

all_descriptors();
my ($seconds, $connections, $seed) = (600, 2000, 1);
GetOptions('seconds=s' => \$seconds, 'connections=s' => \$connections, 'seed=s' => \$seed) && !@ARGV
    or die "usage: soak.pl [--seconds 600] [--connections 2000] [--seed 1]\n";
$seconds     = whole('seconds',     $seconds,     4);
$connections = whole('connections', $connections, 10);
$seed        = whole('seed',        $seed,        0);

# How the connections are spread, in parts of a hundred: what they are reached by, and what they do.
my @ways  = ([plain => 40], [deflate => 25], [tls => 25], [unix => 10]);
my @kinds = ([talker => 60], [fragments => 12], [large => 6], [slow => 6], [aborting => 10], [brief => 6]);

my (%wrong, $child);      # what is not as it must be => how often; the server
my $secure = Certificate->new('ecdsa');
my $folder = File::Temp->newdir;
my $count_values = eval { require Test::LeakTrace; 1 };

# ---- what both know ----

sub wrong { $wrong{ $_[0] }++; return }

# A message: "NUMBER SEED SIZE FLAG " and text that follows from it. The flag says "last" at the end of a connection.
my $TEXT = join ' ', 1 .. 200_000;
my $WIDE = join ' ', map { chr(0x4e00 + $_ % 500) . chr(0xe0 + $_ % 20) } 1 .. 20_000;
utf8::encode($WIDE);

sub message {
    my ($number, $from, $size, $flag) = @_;
    my $text = $flag =~ /wide/ ? \$WIDE : \$TEXT;
    # In wide text a character takes 3, 2 and 1 bytes in turn: it is cut between two of them.
    $_ -= $_ % 6 for $flag =~ /wide/ ? ($size, $from) : ();
    return "$number $from $size $flag " . substr $$text, $from, $size;
}

# Whether a message is what its head says; its number and its flag.
sub check {
    my ($who, $message, $expected) = @_;
    my ($number, $from, $size, $flag) = $message =~ /\A(\d+) (\d+) (\d+) (\w+) /
        or return wrong("$who: a message has no head");
    $message eq message($number, $from, $size, $flag) or wrong("$who: a message is not what was sent");
    $number == $expected
        or wrong($number < $expected ? "$who: a message came twice" : "$who: a message is missing");
    return $flag;
}

sub measure {
    my ($context) = @_;
    opendir my $dir, '/proc/self/fd' or die "/proc/self/fd: $!\n";
    my $descriptors = grep { /^\d+$/ } readdir $dir;
    closedir $dir;
    return { rss => rss(), heap => int(Heap::used() / 1024), descriptors => $descriptors, values => $count_values ? Test::LeakTrace::count_sv() : 0 };
}

sub is_binary { return $_[0] !~ /text|wide/ }

# ---- the server: checks, and sends back ----

sub serve {
    my ($control) = @_;
    my $context = EV::Websockets::Context->new(proxy => '');
    my %open = (
        on_connect => sub { $_[0]->stash->{next} = 0 },
        on_message => sub {
            my ($conn, $message) = @_;
            my $stash = $conn->stash;
            $stash->{last} and wrong('server: a message came behind the last');
            my $flag = check('server', $message, $stash->{next}++);
            $stash->{last} = 1 if $flag =~ /last/;
            is_binary($flag) ? $conn->send_binary($message) : $conn->send($message);
        },
        on_close => sub {
            my ($conn, $code) = @_;
            # A client closes when all came back, so this end has had all.
            $conn->stash->{last} || $code == 1006 or wrong("server: closed with $code before the last message");
        },
    );
    my $path  = "$folder/socket";
    my @ports = map { $context->listen(%open, @PATIENT, @$_) } [], [deflate => 1], [$secure->server], [path => $path];
    print $control "@ports[0 .. 2]\n";
    my $watch; $watch = EV::io($control, EV::READ(), sub {
        my $command = <$control>;
        defined $command or exit;
        my $stats = $context->stats;
        my $got   = measure($context);
        $got->{$_} = $stats->{$_} for qw(open opened messages_received messages_sent);
        $got->{wrong} = join '; ', map { "$_ ($wrong{$_} times)" } sort keys %wrong;
        print $control join("\t", map { ($_, $got->{$_}) } sort keys %$got), "\n";
    });
    EV::run;
    return;
}

# ---- the clients ----

my ($context, %urls, $is_draining, %total, $living);

sub ask_server {
    my ($control) = @_;
    print $control "measure\n";
    my $line = <$control>;
    defined $line or die "the server has ended\n";
    chomp $line;
    return { split /\t/, $line, -1 };
}

sub pick {
    my $left = rand 100;
    for (@_) {
        return $_->[0] if ($left -= $_->[1]) < 0;
    }
    return $_[-1][0];
}

sub size_for {
    my ($kind) = @_;
    return int rand 120 if $kind eq 'brief';
    return int(64 * 1024 + rand 400_000) if $kind eq 'large';
    return int(16 * 1024 + rand 64_000) if $kind eq 'slow';
    return int exp rand log 20_000;
}

sub begin {
    my $way  = pick(@ways);
    my $kind = pick(@kinds);
    my $life = $kind eq 'brief' ? 1 : $kind eq 'large' || $kind eq 'slow' ? 4 : 5 + int rand 30;
    my $self = { kind => $kind, sent => 0, got => 0, life => $life };
    $living++;
    $self->{conn} = $context->connect(
        @{ $urls{$way} },
        connect_timeout => $PATIENCE,
        @PATIENT[2 .. 5],
        on_connect => sub {
            $self->{is_open} = 1;
            $total{opened}++;
            step($self);
        },
        on_message => sub {
            my ($conn, $message) = @_;
            check("client ($way, $kind)", $message, $self->{got}++);
            $total{received}++;
            $self->{got} <= $self->{sent} or wrong('client: a message came that was not sent');
            $conn->close if $self->{is_last} && $self->{got} == $self->{sent};
        },
        on_close => sub {
            my ($conn, $code) = @_;
            if (!$self->{aborted}) {
                $self->{is_last} && $self->{got} == $self->{sent} or wrong("client ($way, $kind): a message was lost (closed with $code)");
                $code == 1000 or wrong("client ($way, $kind): closed with $code");
                $total{whole}++;
            }
            over($self);
        },
        on_error => sub {
            wrong("client ($way, $kind): $_[1]");
            over($self) if !$self->{is_open};
        },
    );
    return;
}

sub over {
    my ($self) = @_;
    return if $self->{is_over}++;
    delete @$self{qw(conn timer)};
    $living--;
    begin() if !$is_draining;
    return;
}

# Sends one message or some, and comes again later.
sub step {
    my ($self) = @_;
    my ($conn, $kind) = @$self{qw(conn kind)};
    if ($kind eq 'aborting' && ($is_draining || rand() < 0.15)) {
        $self->{aborted} = 1;
        $total{aborted}++;
        # With messages under way, or without.
        send_one($self) for 1 .. int rand 4;
        $conn->abort;
        return over($self);
    }
    if ($kind eq 'slow') {
        $conn->pause_recv;
        $self->{paused} = EV::timer(rand 3, 0, sub { delete $self->{paused}; $conn->resume_recv });
    }
    for (1 .. 1 + int rand 3) {
        last if $self->{is_last};
        send_one($self);
    }
    return if $self->{is_last};
    $self->{timer} = EV::timer($is_draining ? 0 : 0.5 + rand 3, 0, sub { step($self) });
    return;
}

sub send_one {
    my ($self) = @_;
    my ($conn, $kind) = @$self{qw(conn kind)};
    $self->{is_last} = 1 if !$self->{aborted} && ($is_draining && $kind ne 'aborting' || $self->{sent} + 1 >= $self->{life});
    my $flag    = (qw(binary text wide))[ rand 3 ] . ($self->{is_last} ? '_last' : '');
    my $message = message($self->{sent}++, int rand 30_000, size_for($kind), $flag);
    $total{sent}++;
    if ($kind eq 'fragments') {
        my $parts = 1 + int rand 6;
        my $size  = 1 + int length($message) / $parts;
        my @parts = map { substr $message, $_ * $size, $size } grep { $_ * $size < length $message } 0 .. $parts - 1;
        $conn->send_fragment($parts[$_], is_binary($flag), $_ == $#parts) for 0 .. $#parts;
    }
    else { is_binary($flag) ? $conn->send_binary($message) : $conn->send($message) }
    return;
}

# Runs until the time is over, or all have gone.
sub run_for {
    my ($time) = @_;
    $is_draining = 0;
    EV::now_update();
    my $end = EV::timer($time, 0, sub { EV::break });
    my $slot = 0;
    # They do not all begin at once.
    my $ramp; $ramp = EV::timer(0, 0.02, sub {
        for (1 .. max(1, $connections / 100)) {
            return undef $ramp if $slot++ >= $connections;
            begin();
        }
    });
    EV::run;
    undef $ramp;
    return;
}

sub drain {
    $is_draining = 1;
    my ($before, $late) = (-1, 0);
    my $watch = EV::timer($PATIENCE, $PATIENCE, sub {
        my $now = sum values %total;
        $late = 1 if $now == $before;
        $before = $now;
    });
    EV::run(EV::RUN_ONCE) while $living && !$late;
    wrong("$living clients wait for ever") if $late;
    return;
}

# Once all have gone: both ends, as [client, server].
sub quiet {
    my ($control) = @_;
    my $server;
    # Connections linger for a moment, codecs and threads' memory go after some seconds.
    for (1 .. 4 * $PATIENCE) {
        my $over;
        my $timer = EV::timer($_ == 1 ? 7 : 0.5, 0, sub { $over = 1 });
        EV::run(EV::RUN_ONCE) until $over;
        $server = ask_server($control);
        last if !$server->{open};
    }
    $server->{open} and wrong("server: $server->{open} connections are left");
    return [measure($context), $server];
}

sub clients {
    my ($control) = @_;
    my @ports = split ' ', scalar <$control>;
    $context = EV::Websockets::Context->new(proxy => '', $secure->client);
    %urls = (
        plain   => [url => "ws://127.0.0.1:$ports[0]/", deflate => 0],
        deflate => [url => "ws://127.0.0.1:$ports[1]/", deflate => 1],
        tls     => [url => "wss://127.0.0.1:$ports[2]/", deflate => 0],
        unix    => [url => "ws+unix:$folder/socket:/"],
    );
    %total  = map { $_ => 0 } qw(opened sent received aborted whole);
    $living = 0;
    my $warm = max(2, int $seconds / 4, min(20, int $seconds / 3));
    run_for($warm);
    drain();
    my $first = quiet($control);
    run_for($seconds - $warm);
    my @loaded = (rss(), ask_server($control)->{rss});
    drain();
    my $last = quiet($control);
    my $server = $last->[1];
    wrong($server->{wrong}) if $server->{wrong};
    $server->{opened} == $total{opened} or wrong("the server has had $server->{opened} connections, the clients $total{opened}");
    my @ends = qw(client server);
    for my $end (0, 1) {
        my ($before, $after) = ($first->[$end], $last->[$end]);
        $after->{descriptors} == $before->{descriptors}
            or wrong("$ends[$end]: $after->{descriptors} descriptors, after warming up $before->{descriptors}");
        $after->{values} <= $before->{values} + $VALUES
            or wrong("$ends[$end]: $after->{values} Perl values, after warming up $before->{values}");
        for my $what (sort keys %ALLOWED) {
            my ($share, $more) = @{ $ALLOWED{$what} };
            $after->{$what} <= $before->{$what} * (1 + $share) + $more
                or wrong("$ends[$end], $what: $after->{$what} KiB, after warming up $before->{$what}");
        }
    }
    line('soak', seconds => $seconds, connections => $connections, opened => $total{opened}, whole => $total{whole},
        aborted => $total{aborted}, sent => $total{sent}, received => $total{received},
        map({ my $end = $_; map { my $what = $_; ("$ends[$end]_${what}_first" => $first->[$end]{$what},
            "$ends[$end]_${what}_last" => $last->[$end]{$what}) } qw(descriptors values heap rss) } 0, 1),
        client_rss_loaded => $loaded[0], server_rss_loaded => $loaded[1], wrong => scalar keys %wrong);
    print STDERR "soak: $_ ($wrong{$_} times)\n" for sort keys %wrong;
    close $control;
    waitpid $child, 0;
    $? and print STDERR "soak: the server ended with status $?\n";
    return !$? && !%wrong;
}

# ---- the two processes ----

socketpair my $near, my $far, AF_UNIX, SOCK_STREAM, PF_UNSPEC or die "socketpair: $!\n";
$_->autoflush(1) for $near, $far;
$child = fork;
defined $child or die "fork: $!\n";
if (!$child) {
    close $near;
    EV::default_loop()->loop_fork;
    serve($far);
    exit;
}
close $far;
srand $seed;
exit(clients($near) ? 0 : 1);
