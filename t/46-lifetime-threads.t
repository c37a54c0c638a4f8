use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Test::More;

use Config;

# Perl's threads, which copy every object (the copies lead nowhere), and the threads that the module
# starts to resolve names, which must not be handed the program's signals.

use EV;
use Children;
use EV::Websockets;
use Pair;
use Run;

# What one in a perl of its own prints; a crash must not take this file along.
sub printed_by {
    my ($program) = @_;
    my $pid = open my $out, '-|';
    die "fork: $!" unless defined $pid;
    if (!$pid) {
        open STDERR, '>&', \*STDOUT;
        exec { $^X } $^X, (map { "-I$_" } @INC), '-e', $program;
        die "exec: $!";
    }
    my $printed = do { local $/; <$out> };
    close $out;
    return ($?, $printed);
}

my $LIVE = <<'PROGRAM';
use strict; use warnings;
use threads; use EV; use EV::Websockets;
$| = 1;
$SIG{ALRM} = 'DEFAULT';
alarm 60;
my $context = EV::Websockets::Context->new;
my ($server, $echo);
my $port = $context->listen(on_connect => sub { $server ||= $_[0] }, on_message => sub { $_[0]->send("$_[1]!") });
my $conn = $context->connect(
    url        => "ws://127.0.0.1:$port/",
    on_connect => sub { $_[0]->send('one') },
    on_message => sub { $echo = $_[1]; EV::break },
);
$conn->stash->{conn} = $conn;
EV::run;
sub goes_on {
    $conn->send('two');
    EV::run;
    print $echo eq 'two!' && $conn->state eq 'connected' && $server->state eq 'connected' ? "goes on\n" : "broken\n";
    delete $conn->stash->{conn};
    undef $_ for $conn, $server, $context;
    print "end\n";
}
PROGRAM

SKIP: {
    skip 'this perl has no threads', 1 unless $Config{useithreads};
    # EV does not promise to live with threads: what it cannot do alone is not ours to test.
    my ($status) = printed_by('use threads; use EV; my $l = EV::default_loop; threads->create(sub { 1 })->join for 1 .. 3;');
    skip 'EV itself does not survive a thread here', 1 if $status;

    my %thread = (
        'a thread that does nothing'     => 'threads->create(sub { 1 })->join for 1 .. 5;',
        'two threads at a time'          => '$_->join for map { threads->create(sub { 1 }) } 1 .. 2;',
        'a thread that drops its copies' => 'threads->create(sub { undef $_ for $conn, $server, $context; 1 })->join;',
        'a thread that uses its copies'  => <<'PROGRAM',
threads->create(sub {
    for my $copy ($conn, $server, $context) {
        for my $method (qw(send close state stash is_connected send_queue_size connections connect listen)) {
            eval { $copy->$method('x') };
        }
    }
    1;
})->join;
PROGRAM
        'a thread after a name was resolved' => <<'PROGRAM',
my $named;
my $other = $context->connect(url => "ws://localhost:$port/",
    on_connect => sub { $named = 1; EV::break }, on_error => sub { print "$_[1]\n"; EV::break });
EV::run;
$other->close;
threads->create(sub { 1 })->join;
PROGRAM
        'a thread while a handshake waits' => <<'PROGRAM',
my ($handshake, $answer);
my $asking = $context->listen(on_handshake => sub { $handshake = $_[1]; EV::break; return $_[1] });
my $other = $context->connect(url => "ws://127.0.0.1:$asking/", on_connect => sub { $answer = 1; EV::break },
    on_error => sub { print "$_[1]\n"; EV::break });
EV::run;
threads->create(sub { eval { $handshake->accept }; undef $handshake; 1 })->join for 1 .. 2;
print "decided\n" if !$handshake->is_pending;
$handshake->accept;
EV::run;
print "no answer\n" if !$answer;
$other->close;
PROGRAM
        # The copies are taken apart while the connections are in use, and the program may end before them.
        'detached threads' => <<'PROGRAM',
use threads::shared;
my $ended : shared = 0;
threads->create(sub {
    eval { $conn->send('x') };
    undef $_ for $conn, $server, $context;
    lock $ended;
    $ended++;
})->detach for 1 .. 3;
until ($ended == 3) {
    $conn->send('meanwhile');
    EV::run;
}
PROGRAM
        'a thread in a callback' => <<'PROGRAM',
$context->connect(url => "ws://127.0.0.1:$port/", on_connect => sub { threads->create(sub { 1 })->join; EV::break });
EV::run;
PROGRAM
        # Prepared messages, subscriptions and what waits belong to the thread that made them.
        'threads and what is for many' => <<'PROGRAM',
my @messages = map { $context->prepare("prepared $_") } 1 .. 3;
my ($heard, @got) = (0);
my @subscribers = map { $context->connect(url => "ws://127.0.0.1:$port/",
    on_connect => sub { $_[0]->subscribe('there'); $heard++; EV::break }, on_message => sub { push @got, $_[1]; EV::break }) } 1 .. 2;
EV::run while $heard < 2;
$context->topic('h', history => 5, frame => sub { "framed $_[0]" });
$server->subscribe($_) for 'here', 'h';
$context->publish('h', 'kept');
$context->publish('here', $messages[0]);
my $use = sub {
    for my $copy ($context, $conn, $server, @messages, @subscribers) {
        for my $method (qw(publish broadcast prepare subscribe unsubscribe topics subscribers topic position send stats)) {
            eval { $copy->$method('here', $messages[1]) };
        }
    }
    eval { $conn->send($_) } for @messages;
    1;
};
threads->create($use)->join for 1 .. 2;
threads->create(sub { $use->(); undef $_ for @messages, @subscribers, $conn, $server, $context; 1 })->join;
threads->create(sub { @messages = (); @subscribers = (); 1 })->join;
use threads::shared;
my $ended : shared = 0;
threads->create(sub { $use->(); lock $ended; $ended++ })->detach for 1 .. 2;
$context->publish('here', $_) for @messages;
EV::run(EV::RUN_NOWAIT) while $ended < 2;
# They are published in the turn of the loop in which the next message comes; what the client got is told by what it echoes.
my $said = threads->create(sub { eval { $conn->send($messages[0]) }; return $@ })->join;
print $said if $said !~ /^Connection has been destroyed/;
my $of_topics = join ' ', sort $context->topics;
print "$of_topics\n" if $of_topics ne 'h here there';
print $context->position('h')->[1], "\n" if $context->position('h')->[1] != 1;
$server->unsubscribe($_) for 'here', 'h';
my @mine;
$_->close for @subscribers;
$conn->send('flush');
EV::run until $echo eq 'flush!';
undef @messages;
PROGRAM
        # Such a package has its CLONE called before ours: what it began then wrote to the parent's state.
        'a package whose CLONE makes a context' => <<'PROGRAM',
my $told = '';
sub EV::Websockets::Below::CLONE {
    my $loop = EV::Loop->new;
    my $own = EV::Websockets::Context->new(loop => $loop);
    my $at = $own->listen(on_message => sub { $_[0]->send($_[1]) });
    my $asking = $own->connect(url => "ws://127.0.0.1:$at/", misspelt => 1,
        on_connect => sub { $_[0]->send('hello') }, on_message => sub { $told .= $_[1]; $loop->break });
    $loop->run;
}
$SIG{__WARN__} = sub { $told .= 'warned ' };
for (1 .. 2) {
    my $said = threads->create(sub { $told })->join;
    print "it said $said\n" if $said ne 'warned hello';
}
PROGRAM
    );
    for my $what (sort keys %thread) {
        my ($status, $printed) = printed_by("$LIVE\n$thread{$what}\ngoes_on();\n");
        is $status, 0, "$what: status";
        is $printed, "goes on\nend\n", "$what: the connections go on";
    }
    # perl says so when detached threads run still, and we say nothing.
    my ($status_at_end, $at_end) = printed_by("$LIVE\n" . <<'PROGRAM');
pipe my $in, my $out or die;
threads->create(sub { syswrite $out, 'x'; select undef, undef, undef, 60 })->detach;
sysread $in, my $begun, 1;
print "end\n";
exit 3;
PROGRAM
    $at_end =~ s/^Perl exited with active threads:\n(?:\t\d.*\n)*//m;
    is $status_at_end, 3 << 8, 'exit while a detached thread has copies: status';
    is $at_end, "end\n", '... and nothing is said';

    my ($its_status, $printed) = printed_by(<<'PROGRAM');
use strict; use warnings; use threads; use EV; use EV::Websockets;
alarm 60;
my $port;
my $context = EV::Websockets::Context->new;
$port = $context->listen;
print threads->create(sub { eval { $context->listen }; return $@ })->join;
PROGRAM
    is $its_status, 0, 'what a thread sees: status';
    like $printed, qr/\AContext has been destroyed at .*\n\z/, 'the copy that a thread gets of a context is none';

    # The bug: a thread got no copies, and perl panics in one that has a weak reference to what was not copied.
    ($its_status, $printed) = printed_by("$LIVE\n" . <<'PROGRAM');
use Scalar::Util qw(weaken);
my $message = $context->prepare('x');
weaken(my $weak = $conn);
weaken(our $of_context = $context);
weaken(my $prepared = $message);
my $say = sub { $weak->send($prepared) if $weak };
threads->create(sub { 1 })->join;
threads->create(sub { eval { $say->() }; undef $_ for $weak, $of_context, $prepared; 1 })->join;
goes_on();
PROGRAM
    is $its_status, 0, 'weak references in a thread: status';
    is $printed, "goes on\nend\n", '... and the connections go on';
}

# Connects to localhost by its name, so that the resolver's threads exist.
sub resolve_a_name {
    my $context = EV::Websockets::Context->new;
    my $port = $context->listen;
    my $done;
    $context->connect(
        url        => "ws://localhost:$port/",
        on_connect => sub { $done = 'connected' },
        on_error   => sub { $done = $_[1] },
    );
    run_until(sub { $done }, 'a name was resolved');
    is $done, 'connected', 'and connected to';
    return;
}

# The threads of this process, or the empty list where /proc does not tell.
sub tasks {
    opendir my $dir, '/proc/self/task' or return;
    return grep { /^\d+$/ } readdir $dir;
}

subtest 'no thread without a name' => sub {
    plan skip_all => 'no /proc/self/task here' unless tasks();
    my $pair = Pair->open;
    is scalar(() = tasks()), 1, 'addresses need none';
    $pair->shut;
};

subtest 'signals after a name was resolved' => sub {
    resolve_a_name();
    my @others = grep { $_ != $$ } tasks();
    SKIP: {
        skip 'no /proc/self/task here', 1 unless tasks();
        my @open;
        for my $task (@others) {
            open my $status, '<', "/proc/self/task/$task/status" or next;    # it has ended
            my ($blocked) = join('', <$status>) =~ /^SigBlk:\s+([0-9a-f]+)/m;
            # Signal 14 (ALRM) is bit 13, TERM 14, USR1 9; halves, for perls of 32 bits.
            my $low = hex substr $blocked, -8;
            push @open, "$task: $blocked" if ($low & 0x6200) != 0x6200;
        }
        is_deeply \@open, [], @others . ' other threads, all of which block ALRM, TERM and USR1';
    }

    my %seen = map { $_ => 0 } qw(USR1 USR2 HUP);
    local $SIG{USR1} = sub { $seen{USR1}++ };
    local $SIG{HUP} = sub { $seen{HUP}++ };
    my $watcher = EV::signal(USR2 => sub { $seen{USR2}++ });
    for my $round (1 .. 200) {
        kill $_ => $$ for qw(USR1 USR2 HUP);
        EV::run(EV::RUN_NOWAIT) if $round % 10 == 0;
    }
    run_until(sub { $seen{USR1} == 200 && $seen{HUP} == 200 && $seen{USR2} }, 'handlers run')
        or diag explain \%seen;
    undef $watcher;
};

# Each system call may be interrupted, and perl's handlers run between any two operations of a callback.
# The watcher outlives the subtest: one that died had freed it, and the next HUP was the end of the file, without a word.
my ($hangups, $watched) = (undef, 0);
subtest 'signals under load' => sub {
    my ($signals, $died) = (0, 0);
    pipe my $met, my $meet or die "pipe: $!";
    local $SIG{USR1} = sub { $signals++; syswrite $meet, '.' };
    local $SIG{USR2} = sub { $died++; die "by a signal\n" };
    $hangups = EV::signal(HUP => sub { $watched++ });
    my $parent = $$;
    defined(my $pid = fork) or die "fork: $!";
    if (!$pid) {
        close $meet;
        # perl dies of the 120th signal that it has had no time to handle, which a slow build has not.
        for my $count (1 .. 30_000) {
            kill $_, $parent or last for 'USR1', 'HUP';
            select undef, undef, undef, 0.001;
            sysread $met, my $handled, 1000 if $count % 40 == 0;
        }
        require POSIX;
        POSIX::_exit(0);
    }
    Children::keep($pid);
    my (@got, $caught);
    my $pair = Pair->open(listen => { on_message => sub {
        my ($conn, $message) = @_;
        # What a handler throws in a callback is the callback's; the message is sent back all the same.
        eval { kill USR2 => $$; 1 } or $caught++ if $message =~ /\A\d*00 /;
        $conn->send($message);
    } }, connect => { on_message => sub { push @got, $_[1] } });
    my @sent = map { "$_ " . 'x' x ($_ * 37 % 70_000) } 1 .. 1500;
    my $next = 0;
    for my $message (@sent) {
        $pair->c->send($message);
        wait_until(sub { @got + 20 > $next }) if ++$next % 20 == 0;
    }
    run_until(sub { @got == @sent && $signals >= 20 && $watched }, 'all messages come back');
    Children::end($pid, 'TERM', 10);
    ok join("\n", @got) eq join("\n", @sent), 'each one once, whole and in order';
    is "$caught $died", '15 15', 'a handler that dies is met by the callback that it interrupts';
    note "$signals signals while perl's handler was set, $watched told by the loop";
    $pair->shut;
};

subtest '$SIG{ALRM} while names are being resolved' => sub {
    my $alarms = 0;
    my $context = EV::Websockets::Context->new;
    my $port = $context->listen;
    my $pid = fork;
    die "fork: $!" unless defined $pid;
    if (!$pid) {
        # A process of its own, because ALRM is the watchdog's in this one.
        local $SIG{ALRM} = sub { $alarms++ };
        undef $context;
        my $late = EV::timer(60, 0, sub { EV::break });
        my $own = EV::Websockets::Context->new;
        my $port = $own->listen;
        my $connected = 0;
        for (1 .. 20) {
            $own->connect(url => "ws://localhost:$port/", on_connect => sub { $connected++ });
            kill ALRM => $$;
        }
        kill(ALRM => $$), EV::run(EV::RUN_ONCE) until $connected == 20 || !$late->is_active;
        require POSIX;
        POSIX::_exit($connected == 20 && $alarms >= 20 ? 0 : 1);
    }
    waitpid $pid, 0;
    is $?, 0, 'each one runs the handler, and each name is resolved';
};

finish;
