package EV::Websockets::Backplane::Redis;

# The connection to Redis: knows what it is connected to, notices when Redis has gone in silence, and is made again when
# it is lost.

use strict;
use warnings;
use 5.010;

use EV;
use EV::Websockets::Backplane::Wire;
use Scalar::Util ();

# client; control: a channel of our own; timeout, retry, ping_interval, durable as the program has said. owner: the
# Backplane, which holds us; its methods redis_found, redis_up, redis_lost and redis_message are called.
sub new {
    my ($class, %args) = @_;
    my $self = bless { %args, round => 0, pauses => 0 }, $class;
    Scalar::Util::weaken($self->{owner});
    return $self;
}

# Redis is there, and is the one that we need.
sub is_found { return $_[0]{is_found} }

# What was subscribed to is again.
sub is_up { return $_[0]{is_up} }

# Which Redis it is, for the messages that it has had.
sub run { return $_[0]{run} }

sub script { return $_[0]{scripts}{ $_[1] } }

# ---- what it is asked ----

sub subscribe { my ($self, @channel_and_callback) = @_; return $self->_have('subscribe', @channel_and_callback) }

sub unsubscribe { my ($self, $channel) = @_; return $self->_have('unsubscribe', $channel) }

# Nobody knows what of it a client that dies has sent, so its connections are given up: what was not answered is sent
# again by the next ones, and the rest of what it was to be asked for is not asked.
sub _have {
    my ($self, $method, @arguments) = @_;
    return if !$self->{is_open};
    my $round = $self->{round};
    local $@;
    my $is_done = eval { $self->{client}->$method(@arguments); 1 };
    $self->lost("$@") if !$is_done && $self->{round} == $round;
    return;
}

# The callback is not called after the connection is lost, and what dies in it does not go through the client.
sub command {
    my ($self, $callback, @words) = @_;
    return $self->_have('command', $self->_guarded($callback), @words);
}

# Such a command must work.
sub ask {
    my ($self, $callback, @words) = @_;
    Scalar::Util::weaken(my $weak = $self);
    $self->command(sub {
        my ($reply, $error) = @_;
        return defined $error ? $weak->lost($error) : $callback->($reply);
    }, @words);
    return;
}

# When the connection for subscriptions has brought all that was published before this call was answered.
sub when_level {
    my ($self, $callback) = @_;
    my $number = ++$self->{level};
    $self->{levels}{$number} = $callback;
    $self->ask(sub { }, 'PUBLISH', $self->{control}, $number);
    return;
}

sub _guarded {
    my ($self, $callback) = @_;
    my $round = $self->{round};
    Scalar::Util::weaken(my $weak = $self);
    return sub {
        # It stays until the callback has returned, and so does the Backplane.
        my $strong = $weak or return;
        my $owner = $strong->{owner} or return;
        return if $strong->{round} != $round;
        local $@;
        eval { $callback->(@_); 1 } or warn "EV::Websockets::Backplane: $@";
    };
}

# ---- it comes ----

sub connect {
    my ($self) = @_;
    return if $self->{is_closed};
    delete $self->{retrying};
    $self->{round}++;
    $self->{is_open} = 1;
    Scalar::Util::weaken(my $weak = $self);
    my %events = (up => '_connected', down => 'lost', message => '_message');
    for my $method (values %events) {
        my $name = $method;
        $method = $self->_guarded(sub { $weak->$name(@_) });
    }
    $self->_watch;
    return $self->_have('connect', \%events);
}

sub _connected {
    my ($self) = @_;
    Scalar::Util::weaken(my $weak = $self);
    my %text = (publish => $EV::Websockets::Backplane::Wire::PUBLISH, look => $EV::Websockets::Backplane::Wire::LOOK);
    for my $name (sort keys %text) {
        $self->ask(sub { $weak->{scripts}{$name} = $_[0] }, 'SCRIPT', 'LOAD', $text{$name});
    }
    $self->ask(sub { $weak->_knows_server($_[0]) }, 'INFO', 'server');
    return;
}

# Some clients make a hash of what INFO says.
sub _knows_server {
    my ($self, $info) = @_;
    my ($version, $run) = ref $info eq 'HASH' ? @$info{qw(redis_version run_id)}
        : map { $info =~ /^$_:(\S+)/m ? $1 : undef } qw(redis_version run_id);
    s/\s+\z// for grep { defined } $version, $run;
    return $self->lost('Redis 6 or later is needed, and this is ' . ($version // 'something else'))
        if !defined $version || $version !~ /\A([0-9]+)/ || $1 < 6 || !defined $run;
    $self->{is_found} = 1;
    my $before = $self->{run};
    $self->{run} = $self->{durable} ? 'durable' : substr $run, 0, 16;
    my $round = $self->{round};
    my @topics = $self->{owner}->redis_found(defined $before && $before ne $self->{run});
    return if $self->{round} != $round;
    my $expected = 1 + @topics;
    Scalar::Util::weaken(my $weak = $self);
    my $done = sub { $weak->_joined if $weak && $weak->{round} == $round && !--$expected };
    $self->subscribe($self->{control}, $done);
    for my $topic (@topics) {
        return if $self->{round} != $round;
        $topic->subscribe($done);
    }
    return;
}

sub _joined {
    my ($self) = @_;
    delete $self->{watch};
    $self->{is_up} = 1;
    $self->{pauses} = 0;
    $self->_ping_later;
    $self->{owner}->redis_up;
    return;
}

sub _message {
    my ($self, $channel, $payload) = @_;
    return $self->{owner}->redis_message($channel, $payload) if $channel ne $self->{control};
    my $callback = $payload =~ /\A[0-9]+\z/ ? delete $self->{levels}{$payload} : undef;
    return $callback ? $callback->() : $self->_is_there('message');
}

# ---- it is there ----

# A time within which something must happen.
sub _watch {
    my ($self) = @_;
    Scalar::Util::weaken(my $weak = $self);
    EV::now_update;
    $self->{watch} = EV::timer($self->{timeout}, 0, sub { $weak->lost('no answer from Redis') });
    return;
}

# A connection that has died in silence shows when neither an answer nor a message comes any more.
sub _ping_later {
    my ($self) = @_;
    Scalar::Util::weaken(my $weak = $self);
    $self->{pinging} = EV::timer($self->{ping_interval}, 0, sub {
        $weak->{awaited} = { answer => 1, message => 1 };
        $weak->_watch;
        $weak->ask(sub { $weak->_is_there('answer') }, 'PUBLISH', $weak->{control}, 'ping');
    });
    return;
}

sub _is_there {
    my ($self, $what) = @_;
    my $awaited = $self->{awaited} or return;
    delete $awaited->{$what};
    return if %$awaited;
    delete @$self{qw(awaited watch)};
    $self->_ping_later;
    return;
}

# ---- it goes ----

sub lost {
    my ($self, $reason) = @_;
    return if !$self->{is_open};
    $self->_disconnect;
    $reason = 'connection lost' if !defined $reason || !length $reason;
    $reason =~ s/\s+\z//;
    Scalar::Util::weaken(my $weak = $self);
    # The program may have called us, and does not expect its own callbacks before that call has returned.
    EV::now_update;
    $self->{telling} = EV::timer(0, 0, sub {
        my $strong = $weak or return;
        delete $strong->{telling};
        $strong->_retry_later;
        $strong->{owner}->redis_lost($reason);
    });
    return;
}

# Not all processes at once, and more and more seldom.
sub _retry_later {
    my ($self) = @_;
    Scalar::Util::weaken(my $weak = $self);
    my $after = $self->{retry} * 2**($self->{pauses} < 4 ? $self->{pauses}++ : 4) * (0.75 + rand 0.5);
    $self->{retrying} = EV::timer($after, 0, sub { $weak->connect });
    return;
}

# silently: a forked child leaves the parent's connection alone.
sub close {
    my ($self, $silently) = @_;
    $self->{is_closed} = 1;
    $self->_disconnect($silently);
    return;
}

sub _disconnect {
    my ($self, $silently) = @_;
    $self->{round}++;
    delete @$self{qw(is_open is_up is_found watch pinging awaited levels telling retrying)};
    $self->{client}->disconnect if !$silently;
    return;
}

1;
