package EV::Websockets::Backplane::Outbox;

# What is on its way to Redis: messages wait, are sent in batches, and stay until Redis has answered. Each has a number,
# by which Redis knows those that it has had already when they are sent again after a connection was lost.

use strict;
use warnings;
use 5.010;

use EV::Websockets::Backplane::Wire;
use Scalar::Util ();

use constant {
    TOPIC => 0, MESSAGE => 1, AT => 2, NUMBER => 3, SIZE => 4, EXCEPT => 5,

    BATCH_MESSAGES => 500,
    BATCH_OCTETS   => 512 * 1024,
    REMEMBERED     => 86_400,        # seconds for which Redis knows the number of our latest message
};

# publisher: 8 octets; channel_of, keys_of, history_of: functions of a topic; refused: called with a topic, octets, a reason
sub new {
    my ($class, %args) = @_;
    return bless { %args, waiting => [], held => {}, sent => [], count => 0, octets => 0, number => 0, except => {} }, $class;
}

sub count { return $_[0]{count} }

# Whether there is room for so many octets.
sub has_room {
    my ($self, $octets) = @_;
    return $self->{count} < $self->{max_pending} && $self->{octets} + $octets <= $self->{max_pending_bytes};
}

# is_held: until `release` is called with the topic. A subscription that has not begun must not miss what is published
# after it was asked for. What cannot be packed dies here, before anything is kept, and not among others in a batch.
sub add {
    my ($self, $topic, $data, $options, $now, $is_held) = @_;
    my $content = EV::Websockets::Backplane::Wire::pack_content($data, $options);
    my $entry = [ $topic, $content, $now, undef, length $data, $options->{except} ];
    Scalar::Util::weaken($entry->[EXCEPT]) if $entry->[EXCEPT];
    $self->{count}++;
    $self->{octets} += length $data;
    push @{ $is_held ? $self->{held}{$topic} ||= [] : $self->{waiting} }, $entry;
    return;
}

sub release {
    my ($self, $topic) = @_;
    my $held = delete $self->{held}{$topic} or return;
    push @{ $self->{waiting} }, @$held;
    return;
}

sub hold {
    my ($self, $topic) = @_;
    my @held = grep { $_->[TOPIC] eq $topic } @{ $self->{waiting} } or return;
    @{ $self->{waiting} } = grep { $_->[TOPIC] ne $topic } @{ $self->{waiting} };
    push @{ $self->{held}{$topic} }, @held;
    return;
}

# Sends what waits: $send->($batch, @words), which returns whether more can be sent.
sub send_waiting {
    my ($self, $script, $send) = @_;
    while (@{ $self->{waiting} }) {
        my $batch = $self->_next_batch;
        push @{ $self->{sent} }, $batch;
        $self->_send($batch, $script, $send) or return;
    }
    return;
}

# The same once more for what was not answered.
sub send_again {
    my ($self, $script, $send) = @_;
    for my $batch (my @batches = @{ $self->{sent} }) {
        $self->_send($batch, $script, $send) or return;
    }
    return;
}

# The messages of a topic are put together, and stay in their order.
sub _next_batch {
    my ($self) = @_;
    my $waiting = $self->{waiting};
    my ($count, $octets) = (0, 0);
    while ($count < @$waiting && $count < BATCH_MESSAGES && ($octets < BATCH_OCTETS || !$count)) {
        $octets += $waiting->[ $count++ ][SIZE];
    }
    my (@groups, %group);
    for my $entry (splice @$waiting, 0, $count) {
        my $group = $group{ $entry->[TOPIC] };
        push @groups, $group = $group{ $entry->[TOPIC] } = [ $entry->[TOPIC] ] if !$group;
        push @$group, $entry;
    }
    for my $entry (map { @$_[1 .. $#$_] } @groups) {
        my $number = $entry->[NUMBER] = ++$self->{number};
        $entry->[MESSAGE] = EV::Websockets::Backplane::Wire::pack_message($self->{publisher}, $number, $entry->[MESSAGE]);
        $self->_except($number, $entry->[EXCEPT]) if $entry->[EXCEPT];
        $#$entry = SIZE;
    }
    return { groups => \@groups };
}

# False: no more can be sent now.
sub _send {
    my ($self, $batch, $script, $send) = @_;
    local $@;
    my @words = eval { $self->_words($batch) };
    return $send->($batch, 'EVALSHA', $script, @words) if @words;
    # A batch that stayed without being sent would stop all those behind it.
    (my $reason = "$@") =~ s/\s+\z//;
    $self->_drop($batch, $reason);
    return 1;
}

sub _words {
    my ($self, $batch) = @_;
    my (@keys, @arguments);
    for my $group (@{ $batch->{groups} }) {
        my ($topic, @entries) = @$group;
        push @keys, $self->{keys_of}->($topic);
        push @arguments, $self->{channel_of}->($topic), $self->{history_of}->($topic), $entries[0][NUMBER], scalar @entries,
            map { $_->[MESSAGE] } @entries;
    }
    my $last = $batch->{groups}[-1][-1][NUMBER];
    return (1 + @keys, $self->{own_key}, @keys, $self->{run_of}->(), REMEMBERED, $last, @arguments);
}

# Redis has had a batch. $errors: what it has said.
sub answered {
    my ($self, $batch, $errors) = @_;
    my $sent = $self->{sent};
    return if !@$sent || $sent->[0] != $batch;
    shift @$sent;
    $self->_gone(map { @$_[1 .. $#$_] } @{ $batch->{groups} });
    my @errors = @{ $errors || [] };
    while (my ($index, $done, $reason) = splice @errors, 0, 3) {
        my ($topic, @entries) = @{ $batch->{groups}[$index] };
        $self->_refuse($_, $reason) for @entries[$done .. $#entries];
    }
    return;
}

# Redis does not want it.
sub rejected {
    my ($self, $batch, $reason) = @_;
    my $sent = $self->{sent};
    $self->_drop($batch, $reason) if @$sent && $sent->[0] == $batch;
    return;
}

sub _drop {
    my ($self, $batch, $reason) = @_;
    @{ $self->{sent} } = grep { $_ != $batch } @{ $self->{sent} };
    my @entries = map { @$_[1 .. $#$_] } @{ $batch->{groups} };
    $self->_gone(@entries);
    $self->_refuse($_, $reason) for @entries;
    return;
}

# What was sent and not answered is given up.
sub give_up_sent {
    my ($self, $reason) = @_;
    my @entries = map { @$_[1 .. $#$_] } map { @{ $_->{groups} } } splice @{ $self->{sent} };
    $self->_gone(@entries);
    $self->_refuse($_, $reason) for @entries;
    return;
}

# What is from before a time is given up.
sub expire {
    my ($self, $time, $reason) = @_;
    my @old;
    my $is_old = sub { return $_[0][AT] < $time && push @old, $_[0] };
    for my $batch (@{ $self->{sent} }) {
        for my $group (@{ $batch->{groups} }) {
            my ($topic, @entries) = @$group;
            @$group = ($topic, grep { !$is_old->($_) } @entries);
        }
        @{ $batch->{groups} } = grep { @$_ > 1 } @{ $batch->{groups} };
    }
    @{ $self->{sent} } = grep { @{ $_->{groups} } } @{ $self->{sent} };
    @$_ = grep { !$is_old->($_) } @$_ for $self->{waiting}, values %{ $self->{held} };
    $self->_gone(@old);
    $self->_refuse($_, $reason) for @old;
    return;
}

sub _gone {
    my ($self, @entries) = @_;
    $self->{count} -= @entries;
    $self->{octets} -= $_->[SIZE] for @entries;
    return;
}

sub _refuse {
    my ($self, $entry, $reason) = @_;
    my $message = $entry->[MESSAGE];
    my $data = $entry->[NUMBER] ? (EV::Websockets::Backplane::Wire::unpack_message($message))[2]
        : EV::Websockets::Backplane::Wire::data_of($message);
    $self->{refused}->($entry->[TOPIC], $data, $reason);
    return;
}

# ---- who does not get a message of ours when it comes back ----

# Those that never come back must not stay for ever.
sub _except {
    my ($self, $number, $conn) = @_;
    Scalar::Util::weaken($self->{except}{$number} = $conn);
    return if keys %{ $self->{except} } <= 2 * $self->{max_pending} + 1000;
    my @numbers = sort { $a <=> $b } keys %{ $self->{except} };
    delete @{ $self->{except} }{ @numbers[ 0 .. @numbers / 2 ] };
    return;
}

sub take_except { return delete $_[0]{except}{ $_[1] } }

1;
