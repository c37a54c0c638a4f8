package PerlPeer;

# What a peer of the conversation in t/lib/Interop.pm does, for the Perl
# implementations; the programs in t/peers/ do the same in their languages.
#
# First it says hello: lines "key=value" for peer, protocol (negotiated),
# x-interop and extensions (headers of the other side, empty if missing). Then
# it obeys text messages that begin with an exclamation mark, and echoes any
# other message with its type:
#
#   !split N         the next message is echoed in N frames, pings between them
#   !ping PAYLOAD    sends a Ping; its Pong is answered with the text "pong PAYLOAD"
#   !burst N         sends the texts 0 .. N-1
#   !close CODE WHY  sends a Close; 1005 stands for one without a code
#   !abort           drops the TCP connection

use strict;
use warnings;

use constant { TEXT => 1, BINARY => 2, CLOSE => 8, PING => 9 };

# frame($fin, $opcode, $bytes) sends one frame; abort() drops the connection.
sub new {
    my ($class, %do) = @_;
    return bless { split => 1, %do }, $class;
}

sub hello {
    my ($self, %hello) = @_;
    $self->{frame}->(1, TEXT, join '',
        map { "$_=" . (defined $hello{$_} ? $hello{$_} : '') . "\n" } sort keys %hello);
    return;
}

my %COMMAND = (
    split => sub { my ($self, $count) = @_; $self->{split} = $count },
    ping  => sub { my ($self, $payload) = @_; $self->{frame}->(1, PING, $payload) },
    burst => sub { my ($self, $count) = @_; $self->{frame}->(1, TEXT, $_) for 0 .. $count - 1 },
    abort => sub { $_[0]{abort}->() },
    close => sub {
        my ($self, $code, $reason) = @_;
        my $payload = $code == 1005 ? '' : pack('n', $code) . $reason;
        $self->{frame}->(1, CLOSE, $payload);
        $self->{half_close}->() if $self->{half_close};
    },
);

sub message {
    my ($self, $opcode, $bytes) = @_;
    if ($opcode == TEXT && $bytes =~ /\A!(\w+) ?(.*)\z/s) {
        my ($command, $rest) = ($1, $2);
        return $COMMAND{$command}->($self, $command eq 'close' ? split / /, $rest, 2 : $rest);
    }
    my $count = $self->{split};
    $self->{split} = 1;
    my $size = 1 + int length($bytes) / $count;
    for my $n (0 .. $count - 1) {
        my $piece = $n * $size < length $bytes ? substr $bytes, $n * $size, $size : '';
        $self->{frame}->($n == $count - 1 ? 1 : 0, $n ? 0 : $opcode, $piece);
        $self->{frame}->(1, PING, 'between') if $n < $count - 1;
    }
    return;
}

sub pong {
    my ($self, $payload) = @_;
    $self->{frame}->(1, TEXT, "pong $payload") if $payload ne 'between';
    return;
}

1;
