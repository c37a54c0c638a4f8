use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Test::More;

use Certificates;
use EV;
use EV::Websockets;
use Pair;
use POSIX ();
use Run;
use Scalar::Util qw(weaken);

# Many TLS handshakes at once. Beyond a few their arithmetic is done by threads
# of the module's own, and everything may happen while it is.

my $CROWD   = 200;
my $SECONDS = is_slowed() ? 600 : 60;    # all of them may take as long

my $made = Certificates->new;
$made->ca('ca');
$made->issue('server', issuer => 'ca', kind => 'rsa');
my %listen = ($made->listen_with('server'), handshake_timeout => $SECONDS);
my $ca = $made->file('ca.pem');

sub threads {
    opendir my $tasks, '/proc/self/task' or return undef;
    return scalar grep { /^\d/ } readdir $tasks;
}

# A server and a crowd of clients. What became of each client is in {seen}.
sub crowd {
    my (%o) = @_;
    my $self = { connected => 0, echoed => 0, seen => [], %o };
    $self->{server} ||= EV::Websockets::Context->new(proxy => '');
    $self->{client} = EV::Websockets::Context->new(proxy => '', $o{untrusting} ? () : (ssl_ca => $ca));
    $self->{port} ||= $self->{server}->listen(%listen, on_message => sub { $_[0]->send("re: $_[1]") });
    weaken(my $weak = $self);
    for my $number (0 .. ($o{size} || $CROWD) - 1) {
        push @{ $self->{conns} }, $self->{client}->connect(
            url             => "wss://127.0.0.1:$self->{port}/$number",
            connect_timeout => $o{timeout} || $SECONDS,
            on_connect => sub {
                $weak->{connected}++;
                $weak->{seen}[$number] .= 'connect ';
                $_[0]->send($number);
            },
            on_message => sub { $weak->{echoed}++ if $_[1] eq "re: $number" },
            on_close   => sub { $weak->{seen}[$number] .= 'close ' },
            on_error   => sub { $weak->{seen}[$number] .= "error $_[1] " },
        );
    }
    return $self;
}

sub seen {
    my ($crowd) = @_;
    my %count;
    $count{ defined $_ ? $_ : 'nothing' }++ for @{ $crowd->{seen} }[0 .. $#{ $crowd->{conns} }];
    return \%count;
}

# Is true in the middle: the first are done, the last are not.
sub is_midway { return $_[0]{connected} >= 10 }

# What $code returns in a child; the parent waits for it.
sub true_in_child {
    my ($name, $code) = @_;
    my $pid = fork;
    die "fork: $!" unless defined $pid;
    if (!$pid) {
        Test::More->builder->no_ending(1);
        alarm $SECONDS;
        my $fine = eval { EV::default_loop()->loop_fork; $code->() };
        print STDERR $@ if $@;
        POSIX::_exit($fine ? 0 : 1);
    }
    waitpid $pid, 0;
    return is $?, 0, $name;
}

subtest 'a few handshakes start no thread' => sub {
    for my $size (1, 2) {
        my $crowd = crowd(size => $size);
        run_until(sub { $crowd->{echoed} == $size }, "$size at once");
    }
    SKIP: {
        skip 'no /proc that lists threads', 1 unless defined threads();
        is threads(), 1, 'one thread';
    }
};

subtest 'all succeed, and the threads take no signals' => sub {
    my $signals = 0;
    local $SIG{USR1} = sub { $signals++ };
    my $crowd = crowd();
    my $kill = EV::timer(0.001, 0.001, sub { kill USR1 => $$ });
    run_until(sub { $crowd->{echoed} == $CROWD }, 'an echo for each');
    is_deeply seen($crowd), { 'connect ' => $CROWD }, 'each is connected once';
    SKIP: {
        skip 'no /proc that lists threads', 1 unless defined threads();
        cmp_ok threads(), '>', 1, 'there are threads now';
    }
    undef $kill;
    run_until(sub { $signals }, 'signals reach their handler');
};

subtest 'a failure has the same words' => sub {
    my $crowd = crowd(untrusting => 1, size => 30);
    run_until(sub { 30 == grep { defined } @{ $crowd->{seen} } }, 'all are decided');
    my ($text, @others) = keys %{ seen($crowd) };
    is scalar @others, 0, 'the same for all';
    like $text, qr/\Aerror TLS handshake with 127\.0\.0\.1: invalid peer certificate: unknown issuer/, 'which says why';
};

subtest 'the time of some is over in the middle' => sub {
    my $crowd = crowd(timeout => 0.03);
    run_until(sub { $CROWD == grep { defined } @{ $crowd->{seen} } }, 'all are decided');
    settle();
    my $seen = seen($crowd);
    my %rest = %$seen;
    delete @rest{ 'connect ', 'error connect timeout ' };
    is_deeply \%rest, {}, 'connected or too late, and never both' or diag explain $seen;
};

subtest 'the clients\' context is destroyed in the middle' => sub {
    my $crowd = crowd();
    run_until(sub { is_midway($crowd) }, 'midway');
    my $before = seen($crowd);
    undef $crowd->{client};
    settle();
    is_deeply seen($crowd), $before, 'no callback comes any more';
    is_deeply [grep { $_ ne 'closed' } map { $_->state } @{ $crowd->{conns} }], [], 'all are closed';
};

subtest 'both contexts are, by a callback' => sub {
    my $crowd;
    $crowd = crowd();
    my $count = 0;
    my $end = EV::check(sub { undef @$crowd{qw(client server)} if is_midway($crowd) });
    run_until(sub { !$crowd->{server} }, 'midway');
    undef $end;
    settle();
    my $again = crowd(size => 10);
    run_until(sub { $again->{echoed} == 10 }, 'and others go on');
};

subtest 'a fork in the middle' => sub {
    my $crowd = crowd();
    run_until(sub { is_midway($crowd) }, 'midway');
    true_in_child('a child ends what it has inherited, and has a crowd of its own', sub {
        undef $crowd;
        my $own = crowd(size => 20);
        return wait_until(sub { $own->{echoed} == 20 });
    });
    run_until(sub { $crowd->{echoed} == $CROWD }, 'the parent goes on to the end');
    is_deeply seen($crowd), { 'connect ' => $CROWD }, 'each is connected once';
};

# A child that went on with the context of its parent never heard of the steps that it had others take.
subtest 'a daemon goes on with its listener' => sub {
    my $crowd = crowd(size => 20);
    run_until(sub { $crowd->{echoed} == 20 }, 'a crowd before');
    true_in_child('a crowd after the fork', sub {
        my $own = crowd(size => 20, server => $crowd->{server}, port => $crowd->{port});
        return wait_until(sub { $own->{echoed} == 20 });
    });
};

finish;
