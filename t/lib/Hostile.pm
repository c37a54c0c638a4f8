package Hostile;

# What every file of t/hostile has in common. The module under test runs in a
# process of its own, the victim; the test is the attacker, with raw peers, and
# looks at the victim from outside: its memory and its processor time, as /proc
# has them. A neighbour, another connection of the victim, gets an echo while
# the attack is under way, and after it.

use strict;
use warnings;
use Children;
use EV;
use Frame;
use POSIX ();
use RawPeer;
use Run;
use Socket;
use Test::More;
use Exporter 'import';

our @EXPORT = qw(victim attack);

my $MARGIN = 64;    # KiB that memory may grow by, beside the limit
my $WARM   = 2048;  # more KiB for what a process needs once, when an attack is the first of its kind

# ---- the victim's process ----

# victim(listen => {...}, connect => {...}, context => {...}): options for the three
# calls. It listens, and echoes messages of 1 to 1000 octets; $victim->connect($url) makes
# it a client. $victim->do($words) has it call do => sub { my ($loop, $words, $done) = @_ },
# and $victim->seen->{done} tells when that has called $done.
sub victim {
    my (%o) = @_;
    socketpair my $ours, my $theirs, AF_UNIX, SOCK_STREAM, PF_UNSPEC or die "socketpair: $!";
    defined(my $pid = fork) or die "fork: $!";
    if (!$pid) {
        close $ours;
        alarm(is_slowed() ? 1700 : 170);
        eval { _live($theirs, %o); 1 } or _say($theirs, "died $@");
        POSIX::_exit(0);
    }
    close $theirs;
    Children::keep($pid);
    my $self = bless { pid => $pid, owner => $$, line => $ours, tls => $o{listen}{ssl_cert} }, __PACKAGE__;
    my ($word, $said) = split ' ', $self->_hear, 2;
    $word eq 'port' or die "the victim says: $word $said\n";
    @$self{qw(port plain)} = split ' ', $said;
    return $self;
}

sub _say {
    my ($line, $text) = @_;
    $text =~ s/[\r\n]+/ /g;
    syswrite $line, "$text\n";
    return;
}

sub _live {
    my ($line, %o) = @_;
    require EV::Websockets;
    # Not the loop that the test has watchers in.
    my $loop = EV::Loop->new;
    my %seen;
    $SIG{__WARN__} = sub { $seen{warning} = $_[0] };
    my %count = (
        on_connect => sub { $seen{connect}++ },
        on_message => sub {
            my ($conn, $message) = @_;
            $seen{message}++;
            $conn->send($message) if length $message && length $message <= 1000;
        },
        on_close => sub { $seen{close}++; $seen{"close $_[1]"}++ if defined $_[1] },
        on_error => sub { $seen{error}++; $seen{last_error} = $_[1] },
    );
    my $with = sub {
        my %all = (%count, @_);
        for my $name (grep { $count{$_} && $all{$_} != $count{$_} } keys %all) {
            my $own = $all{$name};
            $all{$name} = sub { $count{$name}->(@_); $own->(@_) };
        }
        return %all;
    };
    my $context = EV::Websockets::Context->new(loop => $loop, %{ $o{context} || {} });
    my $port = $context->listen($with->(on_message => $count{on_message}, %{ $o{listen} || {} }));
    my %command = (
        tell    => sub { _say($line, join "\t", map { (my $v = $seen{$_}) =~ s/\s+/ /g; "$_=$v" } sort keys %seen) },
        connect => sub {
            my $made = eval { $context->connect($with->(%{ $o{connect} || {} }, url => $_[0])); 1 };
            if (!$made) { $seen{error}++; $seen{last_error} = $@ }
        },
        do => sub { $seen{done} = 0; $o{do}->($loop, $_[0], sub { $seen{done} = 1 }) },
    );
    my $text = '';
    my $watcher = $loop->io($line, EV::READ(), sub {
        sysread $line, $text, 65536, length $text or POSIX::_exit(0);
        while ($text =~ s/\A(\w+) ?(.*)\n//) { $command{$1}->($2) }
    });
    # The neighbour of those that attack TLS speaks none, and apart => 1 gives it a listener without options.
    my $plain = $o{listen}{ssl_cert} || $o{apart} ? $context->listen(%count) : $port;
    _say($line, "port $port $plain");
    $loop->run;
    return;
}

sub _hear {
    my ($self) = @_;
    my $line = '';
    while (sysread $self->{line}, my $octet, 1) {
        return $line if $octet eq "\n";
        $line .= $octet;
    }
    return 'gone 0';
}

sub port { return $_[0]{port} }
sub url  { return ($_[0]{tls} ? 'wss' : 'ws') . "://127.0.0.1:$_[0]{port}/" }

# What its callbacks have counted: connect, message, close, "close CODE", error; and
# last_error and warning, which are texts.
sub seen {
    my ($self) = @_;
    syswrite $self->{line}, "tell\n";
    my $line = $self->_hear;
    BAIL_OUT("the victim says: $line") if $line =~ /\A(?:gone|died)\b/;
    return { map { split /=/, $_, 2 } split /\t/, $line };
}

sub connect { my ($self, $url) = @_; syswrite $self->{line}, "connect $url\n"; return }
sub do      { my ($self, @words) = @_; syswrite $self->{line}, "do @words\n"; return }

# So many clients, 25 at once, none of which gets its connection; whether all failed.
sub fails_to_connect {
    my ($self, $url, $times) = @_;
    my $errors = $self->seen->{error} || 0;
    while ($times > 0) {
        my $batch = $times > 25 ? 25 : $times;
        $self->connect($url) for 1 .. $batch;
        $errors += $batch;
        $times -= $batch;
        return 0 if !wait_until(sub { ($self->seen->{error} || 0) >= $errors });
    }
    return $self->seen->{error} == $errors;
}

# No answer of this server makes it a connection, and none of the frames behind it a message.
sub refuses_answers {
    my ($self, $name, $server) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    attack($self, $name, times => 400, cpu => 2, limit => 64, sub {
        my ($times) = @_;
        ok($self->fails_to_connect('ws://127.0.0.1:' . $server->port . '/', $times), 'each is an error');
        $self->meanwhile;
        $server->{peers} = [];
    });
    return is($self->seen->{message}, $self->{trips}, 'no message came of anybody but the neighbour');
}

# It asks this server, which does not answer by itself: the peer that it waits for.
sub asks {
    my ($self, $server) = @_;
    $server->{peers} = [];
    $self->connect('ws://127.0.0.1:' . $server->port . '/');
    wait_until(sub { my $peer = $server->last_peer; $peer && defined $peer->head }) or die "no request\n";
    return $server->last_peer;
}

# A raw peer of it; one that is upgraded.
sub peer { return RawPeer->connect($_[0]{port}) }

sub upgraded {
    my ($self, %o) = @_;
    my $peer = RawPeer->connect($self->{plain})->upgrade(%o);
    wait_until(sub { defined $peer->head || $peer->eof });
    return $peer;
}

# So many peers at once: $code->($peer) begins with each, and $until->($peer) comes to
# hold of all. The peers.
sub crowd {
    my ($self, $number, $code, $until, $name) = @_;
    my @peers = map { my $peer = $self->peer; $code->($peer); $peer } 1 .. $number;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    ok(wait_until(sub { @peers == grep { $until->($_) } @peers }), $name);
    return @peers;
}

# An upgraded peer sends these bytes; the Close that it gets, and the end.
sub fails_with {
    my ($self, $code, $bytes, $name, %o) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $peer = $self->upgraded(%o);
    $peer->put(ref $bytes ? $bytes->($peer) : $bytes);
    wait_until(sub { $peer->close_read || $peer->eof });
    is(($peer->close_read)[0], $code, "$name: $code");
    $peer->finish_writing;
    wait_until(sub { $peer->eof }) or fail("$name: ended");
    return $peer;
}

# Requests of all kinds, each of a peer of its own: [ NAME, status or 0 for an end without
# an answer, bytes ].
sub answers {
    my ($self, @cases) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my @wrong;
    for my $case (@cases) {
        my ($name, $status, $bytes) = @$case;
        my $peer = $self->peer->put($bytes);
        wait_until(sub { defined $peer->head || $peer->eof });
        my $got = $peer->status || 0;
        push @wrong, "$name: $got" if $got !~ /\A(?:$status)\z/;
        $peer->hang_up;
    }
    is("@wrong", '', 'every request is answered as it should be');
    return;
}

# Puts the same bytes so many times; whether the victim took them all. Who does not
# take any for many round trips of the neighbour holds its peer back.
sub flood {
    my ($self, $peer, $bytes, $times) = @_;
    my $block = $bytes x (1 + int(65536 / length $bytes));
    my $all = length($bytes) * $times;
    my ($given, $already) = (0, $peer->written + $peer->unwritten);
    $peer->put_from(sub {
        return undef if $given >= $all;
        my $part = $all - $given < length $block ? substr $block, 0, $all - $given : $block;
        $given += length $part;
        return $part;
    });
    my ($before, $idle) = (-1, 0);
    wait_until(sub {
        return 1 if $peer->eof || defined $peer->{write_failed} || $peer->written - $already >= $all;
        if ($peer->written == $before) { $idle++; $self->_round_trip if $self->{neighbour} }
        else                           { ($before, $idle) = ($peer->written, 0) }
        return $idle > 50;
    });
    delete $peer->{source};
    $self->{held_back} = $idle > 50;
    return !$self->{held_back};
}

# Whether it has read everything of this peer: a Ping behind it was answered.
sub has_read {
    my ($self, $peer) = @_;
    my $mark = 'mark ' . ++$self->{marks};
    $peer->send_frame(PING, $mark);
    return wait_until(sub { $peer->eof || grep { $_->{payload} eq $mark } $peer->frames_of(PONG) }) && !$peer->eof;
}

# ---- looking at it ----

# KiB of resident memory that is the process's own: code that is mapped when it is first
# run is no growth. smaps_rollup is exact; what status says is off by up to 128 KiB for
# each processor in recent kernels.
sub memory {
    my ($self) = @_;
    return undef if is_slowed();
    for my $file (qw(smaps_rollup status)) {
        open my $in, '<', "/proc/$self->{pid}/$file" or next;
        while (my $line = <$in>) { return $1 if $line =~ /^(?:Anonymous|RssAnon):\s+(\d+)/ }
    }
    return undef;
}

# Seconds of all its threads.
sub cpu {
    my ($self) = @_;
    return undef if is_slowed();
    open my $in, '<', "/proc/$self->{pid}/stat" or return undef;
    my $line = <$in>;
    $line =~ s/\A.*\) //s;
    my @field = split ' ', $line;
    return ($field[11] + $field[12]) / POSIX::sysconf(POSIX::_SC_CLK_TCK());
}

# A test of its own, after an attack.
sub is_at_rest {
    my ($self) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    SKIP: {
        my $before = $self->cpu;
        skip 'no /proc', 1 if !defined $before;
        settle() for 1 .. 4;
        cmp_ok($self->cpu - $before, '<=', 0.1, 'then nothing spins');
    }
    return;
}

sub _look {
    my ($self) = @_;
    my $memory = $self->memory;
    $self->{peak} = $memory if defined $memory && $memory > ($self->{peak} || 0);
    return;
}

# ---- the neighbour ----

sub _round_trip {
    my ($self) = @_;
    my $neighbour = $self->{neighbour} or die "no neighbour\n";
    my $text = 'echo ' . ++$self->{trips};
    $neighbour->send_frame(TEXT, $text);
    my $ok = wait_until(sub {
        my $frames = $neighbour->frames;
        return @$frames && $frames->[-1]{payload} eq $text || $neighbour->eof;
    });
    return $ok && !$neighbour->eof;
}

# Called by an attack where it is at its worst.
sub meanwhile {
    my ($self) = @_;
    $self->{meanwhile}++;
    $self->{unserved}++ if !$self->_round_trip;
    $self->_look;
    return;
}

# ---- the attack ----

# attack($victim, NAME, times => N, warm => N, limit => KiB, cpu => seconds,
# neighbour => RawPeer, warns => 1, sub { my ($times) = @_ ... }): carries it out with few
# times to warm up, then with all, and compares.
sub attack {
    my ($victim, $name, @o) = @_;
    my $code = pop @o;
    my %o = (times => 1, limit => 0, cpu => 1, @o);
    $o{warm} = $o{times} if !defined $o{warm};
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    $victim->{neighbour} ||= $o{neighbour} || $victim->upgraded;
    is($victim->{neighbour}->status, 101, "$name: a neighbour is connected");
    # What every context has, it has after that: a buffer whose pages have all been written to.
    $victim->flood($victim->{neighbour}, $victim->{neighbour}->make(PONG, 'x' x 125), 100_000) if !$victim->{warm}++;
    my $cold = $victim->memory;
    delete $victim->{peak};
    $code->($o{warm});
    $victim->_round_trip;
    my $warm = ($victim->{peak} || 0) - ($cold || 0);
    my ($memory, $cpu) = ($victim->memory, $victim->cpu);
    delete @$victim{qw(peak meanwhile unserved)};
    $code->($o{times});
    ok($victim->{meanwhile} && !$victim->{unserved}, "$name: the neighbour is served meanwhile");
    ok($victim->_round_trip, "$name: and afterwards");
    is($victim->seen->{warning}, undef, "$name: without a warning") if !$o{warns};
    $victim->_look;
    SKIP: {
        skip 'no /proc, or a process that is watched', 3 if !defined $memory || !defined $cpu;
        my $grown = $victim->{peak} - $memory;
        my $spent = $victim->cpu - $cpu;
        my $bound = $o{limit} + $MARGIN;
        cmp_ok($grown, '<=', $bound, "$name: KiB that memory grew by");
        cmp_ok($warm, '<=', $bound + $WARM, "$name: and when it was done first");
        cmp_ok($spent, '<=', $o{cpu}, "$name: seconds of the processor");
        note(sprintf 'figures: %s: %d of %d KiB, %.2f of %s s', $name, $grown, $bound, $spent, $o{cpu});
    }
    return;
}

sub DESTROY {
    my ($self) = @_;
    return if $self->{owner} != $$ || Children::is_global_destruction();
    Children::end($self->{pid}, 'KILL', 10);
}

1;
