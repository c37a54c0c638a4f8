package Deflate;

# permessage-deflate as RFC 7692 section 7.2 has it, by perl's own zlib: what a
# raw peer needs to speak it, and to speak it wrongly.

use strict;
use warnings;
use Compress::Raw::Zlib qw(Z_OK Z_BUF_ERROR Z_SYNC_FLUSH Z_FINISH MAX_MEM_LEVEL
    Z_DEFAULT_STRATEGY Z_DEFAULT_COMPRESSION);

# bits: of the window. takeover: whether it is kept from message to message.
# strategy, level: zlib's.
sub new {
    my ($class, %o) = @_;
    return bless { bits => 15, takeover => 1, %o }, $class;
}

sub _deflater {
    my ($self) = @_;
    delete $self->{out} if !$self->{takeover};
    $self->{out} ||= do {
        my ($stream, $status) = Compress::Raw::Zlib::Deflate->new(
            -WindowBits => -$self->{bits}, -AppendOutput => 1, -MemLevel => MAX_MEM_LEVEL,
            -Level    => defined $self->{level}    ? $self->{level}    : Z_DEFAULT_COMPRESSION,
            -Strategy => defined $self->{strategy} ? $self->{strategy} : Z_DEFAULT_STRATEGY,
        );
        $status == Z_OK or die "deflateInit: $status\n";
        $stream;
    };
    return $self->{out};
}

# The payloads of the fragments of one message, of these pieces.
sub fragments {
    my ($self, @pieces) = @_;
    my $stream = $self->_deflater;
    my @payloads;
    for my $piece (@pieces) {
        my $output = '';
        $stream->deflate($piece, $output) == Z_OK or die "deflate failed\n";
        $stream->flush($output, Z_SYNC_FLUSH) == Z_OK or die "flush failed\n";
        push @payloads, $output;
    }
    # A flush that has nothing to flush writes nothing: then the payload is the
    # byte of section 7.2.3.6.
    $payloads[-1] =~ s/\x00\x00\xff\xff\z// or $payloads[-1] = "\0";
    return @payloads;
}

sub message { return ($_[0]->fragments($_[1]))[0] }

# A message whose last block has BFINAL set (section 7.2.3.4).
sub final_message {
    my ($self, $bytes) = @_;
    my $stream = $self->_deflater;
    my $output = '';
    $stream->deflate($bytes, $output) == Z_OK or die "deflate failed\n";
    $stream->flush($output, Z_FINISH) == Z_OK or die "finish failed\n";
    delete $self->{out};
    return "$output\0";
}

# The message of a payload that was read. Dies when zlib, with a window of
# exactly these bits, does not accept it.
sub inflate {
    my ($self, $payload) = @_;
    delete $self->{in} if !$self->{takeover};
    $self->{in} ||= do {
        my ($stream, $status) = Compress::Raw::Zlib::Inflate->new(
            -WindowBits => -$self->{bits}, -AppendOutput => 1, -ConsumeInput => 1);
        $status == Z_OK or die "inflateInit: $status\n";
        $stream;
    };
    my $message = '';
    # Octet by octet: within the output of one call zlib would also take a
    # distance that is longer than the window.
    for my $octet (split //, "$payload\x00\x00\xff\xff") {
        my $status = $self->{in}->inflate($octet, $message);
        die "inflate: $status\n" if $status != Z_OK && $status != Z_BUF_ERROR;
    }
    return $message;
}

1;
